"""Dev metrics in training: the same greedy decoding and the same counts as `asr decode` and `asr score`.

But for utterances longer than corpus.max_seconds, in which `asr decode` limits the attention's reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from asr.data.batching import split_into_micro_batches
from asr.data.dataset import SpeechSet, load_waveforms
from asr.data.segments import Kind, Segment
from asr.decoding.reading import Reading, read
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.evaluation.edit_distance import error_counts
from asr.evaluation.normalisers import make_normaliser
from asr.model.features import FrontEnd
from asr.model.speech_model import SpeechModel
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
    """The student's loss (CTC, or cross-entropy) in nats per second of audio, over the references that the
    model can emit at all."""


@torch.inference_mode()
def evaluate(
    network: SpeechModel,
    speech: SpeechSet,
    front_end: FrontEnd,
    tokenizer: Tokenizer,
    ranks: Ranks,
    normaliser: str = "none",
) -> DevMetrics:
    """Error rates and loss of a model, in evaluation mode, on a dev set. A collective.

    Texts are compared under `normaliser`.
    """
    normalise = make_normaliser(normaliser).apply
    segments = [Segment(Kind.LABELLED, i, 0, float(s)) for i, s in enumerate(speech.seconds)]
    sums = [0.0] * 6
    for slot in split_into_micro_batches(segments, ranks.world, _MAX_BATCH_SECONDS):
        # A rank without a share decodes a neighbour's, uncounted: the forward pass may be a collective.
        mine = slot[ranks.rank]
        share = mine or next(part for part in slot if part)
        waveforms_BN, samples_B = load_waveforms([speech.cuts[s.index] for s in share])
        features = front_end(waveforms_BN.to(ranks.device), samples_B.to(ranks.device))
        features_BTF, lengths_B = features
        reading = read(network, features_BTF, lengths_B, [segment.seconds for segment in share])
        if mine:
            references = [speech.references[s.index] for s in mine]
            texts = [tokenizer.decode(h.tokens) for h in reading.hypotheses]
            words, characters = error_counts(
                [normalise(text) for text in references], [normalise(text) for text in texts]
            )
            frames = network.encoder.output_lengths(features[1]).tolist()
            targets = [_tokens(tokenizer, reference) for reference in references]
            possible = {
                place: target
                for place, target in enumerate(targets)
                if target is not None and network.criterion.can_emit(target, frames[place])
            }
            counts = (
                *(float(n) for n in (words.errors, words.reference_length)),
                *(float(n) for n in (characters.errors, characters.reference_length)),
                *_loss(reading, possible, mine),
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
    reading: Reading, targets: Mapping[int, list[int]], segments: Sequence[Segment]
) -> tuple[float, float]:
    """Summed loss in nats of the targets by place, and the seconds of audio that it covers."""
    if not targets:
        return 0.0, 0.0
    losses_B = reading.losses(list(targets), list(targets.values()))
    return float(losses_B.sum()), sum(segments[place].seconds for place in targets)
