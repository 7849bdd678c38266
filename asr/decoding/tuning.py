"""LM weight and word score of a beam search, chosen on a dev set by a small search."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from asr.decoding.beam import BeamDecoder, BeamSettings
from asr.decoding.decode_dataset import set_logits
from asr.errors import UserError
from asr.evaluation.edit_distance import error_counts

if TYPE_CHECKING:
    from asr.data.dataset import SpeechSet
    from asr.model.loaded_model import LoadedModel

LM_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
WORD_SCORES = (-1.0, 0.0, 1.0, 2.0)


def tune(
    model: LoadedModel,
    dev: SpeechSet,
    settings: BeamSettings,
    by: str = "wer",
    say: Callable[[str], None] = lambda line: None,
    normalise: Callable[[str], str] = str,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    word_scores: Sequence[float] = WORD_SCORES,
) -> tuple[BeamSettings, list[dict[str, Any]]]:
    """The settings with the lowest error rate, and the whole grid; of equals the smaller weights.

    The logits are computed once, and texts compared under `normalise`. Without a language model only the word
    score is searched. Raises UserError for a set without references: with none the fewest words would win.
    """
    if not any(normalise(reference).strip() for reference in dev.references):
        raise UserError(
            f"set '{dev.name}' has no references to tune on", "name a dev set with its transcripts"
        )
    logits = list(set_logits(model, dev))
    references = [normalise(dev.references[segment.index]) for segment, _ in logits]
    grid: list[dict[str, Any]] = []
    if settings.language_model is None:
        lm_weights = (settings.lm_weight,)
    if model.config.tokenizer.kind != "characters":
        word_scores = (0.0,)
    for lm_weight, word_score in itertools.product(lm_weights, word_scores):
        tried = replace(settings, lm_weight=lm_weight, word_score=word_score, nbest=1)
        decoder = BeamDecoder(model.tokenizer, tried)
        texts = []
        for _, logits_SV in logits:
            [[hypothesis]] = decoder(logits_SV[None], torch.tensor([len(logits_SV)]))
            texts.append(normalise(model.tokenizer.decode(hypothesis.tokens)))
        words, characters = error_counts(references, texts)
        rates = {"wer": words.rate, "cer": characters.rate}
        grid.append({"lm_weight": lm_weight, "word_score": word_score, **rates})
        say(
            f"tuning on '{dev.name}': lm weight {lm_weight:4.2f}, word score {word_score:+.1f}: "
            f"WER {words.rate:6.2f} %, CER {characters.rate:6.2f} %"
        )
    other = "cer" if by == "wer" else "wer"
    best = min(grid, key=lambda g: (g[by], g[other], g["lm_weight"], abs(g["word_score"])))
    chosen = replace(settings, lm_weight=best["lm_weight"], word_score=best["word_score"])
    return chosen, grid
