"""LM weight and word score of a beam search, chosen on a dev set by a small search."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from asr.decoding.beam import BeamDecoder, BeamSettings
from asr.decoding.decode_dataset import set_logits
from asr.decoding.greedy import Decoder, greedy_only
from asr.errors import UserError
from asr.evaluation.edit_distance import error_counts

if TYPE_CHECKING:
    from asr.data.dataset import SpeechSet
    from asr.model.loaded_model import LoadedModel

LM_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
WORD_SCORES = (-1.0, 0.0, 1.0, 2.0)

Rates = Mapping[str, float]
"""`wer` and `cer` in percent."""
Noted = Callable[[int, Callable[[], Rates]], Rates]
"""A point's number, and how to find its rates -> these; where others share the work, or did it before."""


@dataclass(frozen=True)
class Tuned:
    """What has been chosen, and from what."""

    decoder: BeamDecoder
    """With the language model loaded."""
    grid: list[dict[str, Any]]
    """`lm_weight` and `word_score` with `wer` and `cer`, of each point."""
    best: dict[str, Any]
    """Of these points."""
    greedy: Rates
    """Without a search."""


def tune(
    model: LoadedModel,
    dev: SpeechSet,
    settings: BeamSettings,
    by: str = "wer",
    say: Callable[[str], None] = lambda line: None,
    normalise: Callable[[str], str] = str,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    word_scores: Sequence[float] = WORD_SCORES,
    noted: Noted = lambda number, find: find(),
    share: tuple[int, int] = (0, 1),
) -> Tuned:
    """The search with the lowest error rate, and the whole grid; of equals the smaller weights.

    The logits are computed and the language model is loaded once, and texts compared under `normalise`. Without
    a language model only the word score is searched. `share`: number and count of the processes that share the
    points, each of which begins elsewhere. Raises UserError for a set without references: with none the fewest
    words would win.
    """
    if not any(normalise(reference).strip() for reference in dev.references):
        raise UserError(
            f"set '{dev.name}' has no references to tune on", "name a dev set with its transcripts"
        )
    loaded = BeamDecoder(model.tokenizer, settings)
    logits = list(set_logits(model, dev))
    references = [normalise(dev.references[place]) for place, _ in logits]

    def rates_of(decoder: Decoder) -> Rates:
        found = [decoder(one[None], torch.tensor([len(one)]))[0][0].tokens for _, one in logits]
        texts = [normalise(model.tokenizer.decode(tokens)) for tokens in found]
        words, characters = error_counts(references, texts)
        return {"wer": words.rate, "cer": characters.rate}

    if settings.language_model is None:
        lm_weights = (settings.lm_weight,)
    if model.config.tokenizer.kind != "characters":
        word_scores = (0.0,)
    points = list(itertools.product(lm_weights, word_scores))

    def rates_at(number: int) -> Rates:
        return rates_of(loaded.weighted(*points[number], nbest=1))

    found: dict[int, dict[str, Any]] = {}
    first = len(points) * share[0] // share[1]
    for number in (*range(first, len(points)), *range(first)):
        weights = dict(zip(("lm_weight", "word_score"), points[number], strict=True))
        found[number] = {**weights, **noted(number, partial(rates_at, number))}
        say(f"tuning on '{dev.name}': {_shown(found[number])}")
    grid = [found[number] for number in range(len(points))]
    other = "cer" if by == "wer" else "wer"
    best = min(grid, key=lambda g: (g[by], g[other], g["lm_weight"], abs(g["word_score"])))
    plain = rates_of(greedy_only)
    say(f"tuned on '{dev.name}' by {by.upper()}: {_summary(grid, best, plain, by)}")
    chosen = loaded.weighted(best["lm_weight"], best["word_score"], settings.nbest)
    return Tuned(chosen, grid, best, plain)


def _summary(grid: Sequence[dict[str, Any]], best: dict[str, Any], plain: Rates, by: str) -> str:
    """The weights, what they give, and how much better that is than greedy, and than no weights."""
    zero = next((one for one in grid if one["lm_weight"] == one["word_score"] == 0.0), None)
    others = {"greedy": plain, **({"with both 0": zero} if zero else {})}
    gains = [
        f"{abs(best[by] - rates[by]):.2f} points {'better' if best[by] <= rates[by] else 'worse'} than "
        f"{name} ({rates[by]:.2f} %)"
        for name, rates in others.items()
    ]
    return f"{_shown(best)}; {', '.join(gains)}"


def _shown(point: Mapping[str, float]) -> str:
    weights = f"lm weight {point['lm_weight']:.2f}, word score {point['word_score']:+.1f}"
    return f"{weights}: WER {point['wer']:6.2f} %, CER {point['cer']:6.2f} %"
