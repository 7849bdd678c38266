"""Dev metrics in training: the same greedy decoding and the same counts as `asr decode` and `asr score`.

But for utterances longer than corpus.max_seconds, in which `asr decode` limits the attention's reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.batching import split_into_micro_batches
from asr.data.dataset import SpeechSet, load_waveforms
from asr.data.segments import Kind, Segment
from asr.decoding.greedy import greedy
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.evaluation.edit_distance import error_counts
from asr.model.acoustic_model import Forward
from asr.model.ctc import ctc_losses, is_feasible
from asr.model.features import FrontEnd
from asr.model.tokenizer import Tokenizer

_MAX_BATCH_SECONDS = 120.0


@dataclass(frozen=True)
class DevMetrics:
    """A model on a dev set."""

    wer: float
    """Percent."""
    cer: float
    """Percent."""
    dev_loss: float | None
    """CTC loss in nats per second of audio, over the references that the model can emit at all."""


@torch.inference_mode()
def evaluate(
    forward: Forward, speech: SpeechSet, front_end: FrontEnd, tokenizer: Tokenizer, ranks: Ranks
) -> DevMetrics:
    """Error rates and loss of a model on a dev set. A collective."""
    segments = [Segment(Kind.LABELLED, i, 0, float(s)) for i, s in enumerate(speech.seconds)]
    sums = [0.0] * 6
    for slot in split_into_micro_batches(segments, ranks.world, _MAX_BATCH_SECONDS):
        # A rank without a share decodes a neighbour's, uncounted: the forward pass may be a collective.
        mine = slot[ranks.rank]
        share = mine or next(part for part in slot if part)
        waveforms_BN, samples_B = load_waveforms([speech.cuts[s.index] for s in share])
        features = front_end(waveforms_BN.to(ranks.device), samples_B.to(ranks.device))
        logits_BSV, lengths_B = forward(*features)
        if mine:
            references = [speech.references[s.index] for s in mine]
            texts = [tokenizer.decode(h.tokens) for h in greedy(logits_BSV, lengths_B)]
            words, characters = error_counts(references, texts)
            counts = (
                *(float(n) for n in (words.errors, words.reference_length)),
                *(float(n) for n in (characters.errors, characters.reference_length)),
                *_loss(logits_BSV, lengths_B, [_tokens(tokenizer, r) for r in references], mine),
            )
            sums = [total + count for total, count in zip(sums, counts, strict=True)]
    word_errors, words_total, character_errors, characters_total, loss, seconds = ranks.sum(sums)
    return DevMetrics(
        wer=100 * word_errors / max(1.0, words_total),
        cer=100 * character_errors / max(1.0, characters_total),
        dev_loss=loss / seconds if seconds else None,
    )


def _tokens(tokenizer: Tokenizer, reference: str) -> list[int] | None:
    """None for a reference with a character that the model has no token for."""
    try:
        return tokenizer.encode(reference)
    except UserError:
        return None


def _loss(
    logits_BSV: Tensor,
    lengths_B: Tensor,
    targets: Sequence[list[int] | None],
    segments: Sequence[Segment],
) -> tuple[float, float]:
    """Summed loss in nats, and the seconds of audio that it covers."""
    frames = lengths_B.tolist()
    possible = {
        i: target
        for i, target in enumerate(targets)
        if target is not None and is_feasible(target, frames[i])
    }
    if not possible:
        return 0.0, 0.0
    rows = list(possible)
    losses_B = ctc_losses(logits_BSV[rows], lengths_B[rows], list(possible.values()))
    return float(losses_B.sum()), sum(segments[i].seconds for i in rows)
