"""Dev WER in training: the same greedy decoding and the same counts as `asr decode` and `asr score`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from asr.decode import greedy
from asr.distributed import Ranks
from asr.edits import error_counts
from asr.features import LogMel
from asr.speech_set import SpeechSet, load_waveforms
from asr.stream import Kind, Segment, deal
from asr.tokenizer import Tokenizer

_MAX_BATCH_SECONDS = 120.0

Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(features (B, T, F), lengths (B,)) -> (logits (B, S, V), lengths (B,))"""


@torch.inference_mode()
def word_error_rates(
    forward: Forward,
    speech: SpeechSet,
    log_mel: LogMel,
    tokenizer: Tokenizer,
    ranks: Ranks,
) -> tuple[float, float]:
    """(WER, CER) in percent of a model on a dev set. A collective."""
    segments = [Segment(Kind.LABELLED, i, 0, float(s)) for i, s in enumerate(speech.seconds)]
    sums = [0.0] * 4
    for slot in deal(segments, ranks.world, _MAX_BATCH_SECONDS):
        # A rank without a share decodes a neighbour's, uncounted: the forward pass may be a collective.
        mine = slot[ranks.rank]
        indices = [segment.index for segment in mine or next(part for part in slot if part)]
        waveforms_BN, samples_B = load_waveforms([speech.cuts[i] for i in indices])
        features = log_mel(waveforms_BN.to(ranks.device), samples_B.to(ranks.device))
        texts = [tokenizer.decode(h.tokens) for h in greedy(*forward(*features))]
        if mine:
            words, characters = error_counts([speech.references[i] for i in indices], texts)
            counts = (
                words.errors,
                words.reference_length,
                characters.errors,
                characters.reference_length,
            )
            sums = [total + count for total, count in zip(sums, counts, strict=True)]
    word_errors, words_total, character_errors, characters_total = ranks.sum(sums)
    return 100 * word_errors / max(1.0, words_total), 100 * character_errors / max(
        1.0, characters_total
    )
