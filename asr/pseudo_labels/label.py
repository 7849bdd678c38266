"""A pseudo-label: the tokens, and the metrics of its making.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asr.decoding.confidence import of_device, of_host
from asr.decoding.safeguards import compression_ratio
from asr.model.features import frame_mask
from asr.model.tokenizer import BLANK
from asr.utils.devices import fetched

TEACHER, OUTSIDE = "teacher", "outside"


@dataclass(frozen=True)
class LabelMetrics:
    """What a teacher's posteriors say of one utterance."""

    confidence: float
    """From 0 to 1; 0 without frames."""
    blank_share: float
    """Of the frames, those whose best token is the blank."""
    entropy: float
    """Mean over the frames, in nats, of the distribution from which the label was decided."""
    confidence_measure: str = "frames"
    """By which the confidence is measured (asr/decoding/confidence.py); where nobody says, that of old."""
    no_speech_probability: float | None = None
    """By an encoder-decoder that has a token for it."""
    repetition: float | None = None
    """Share of the trigrams of tokens that have occurred before in the label."""
    compression_ratio: float | None = None
    """Bytes of the text over those of its zlib compression: above 2.4 it repeats itself (Whisper's guard)."""
    ctc_score: float | None = None
    """How surely the CTC head beside an encoder-decoder's decoder reads the label, from 0 to 1."""


@dataclass(frozen=True)
class Label:
    """A hard label of one utterance."""

    tokens: list[int]
    metrics: LabelMetrics
    hours: float = 0.0
    """Of audio, when it was made."""
    teacher_age_hours: float = 0.0
    """Audio since the weights that made it had last changed."""
    dropped: str | None = None
    """Why it is not trained on (filters.Dropped); None where it is."""
    source: str = TEACHER
    """Who wrote it: the teacher, or somebody outside."""
    text: str | None = None
    """Of a label from outside that has no tokens, since it cannot be spelt; else None."""
    confidences: Sequence[float] = ()
    """Probability of each token and of the end, a float of 32 bits, where the recipe weighs tokens by it
    (pseudo_label.token_weights)."""


def label_metrics(
    logits_BSV: Tensor,
    lengths_B: Tensor,
    labels: Sequence[Sequence[int]],
    measure: str,
    temperature: float | None = None,
    host_lengths_B: Tensor | None = None,
) -> list[LabelMetrics]:
    """Of each utterance and its label, in fp32 whatever the logits are.

    `measure` is of the confidence; the entropy is at `temperature`, 0 at None. `host_lengths_B`: the lengths
    where they are on the host already, else they are waited for.
    """
    if host_lengths_B is None:
        [host_lengths_B] = fetched(lengths_B)
    log_BSV = logits_BSV.float().log_softmax(dim=-1)
    best_BS, path_BS = log_BSV.max(dim=-1)
    if temperature is None:
        entropy_BS = torch.zeros_like(best_BS)
    else:
        tempered_BSV = (log_BSV / temperature).log_softmax(dim=-1)
        entropy_BS = -(tempered_BSV.exp() * tempered_BSV).nan_to_num(0.0).sum(dim=-1)
    inside_BS = frame_mask(lengths_B, best_BS.shape[1])
    means_2B = torch.stack(
        # Numbers, whatever a teacher says that holds NaN: they are averaged for ever after.
        [
            values_BS.nan_to_num(0.0).masked_fill(~inside_BS, 0).sum(dim=1) / lengths_B.clamp(min=1)
            for values_BS in ((path_BS == BLANK).float(), entropy_BS)
        ]
    )
    seen = of_device(measure, logits_BSV, host_lengths_B, labels)
    means_2B, *rest = fetched(means_2B, *seen)
    blank_shares, entropies = means_2B.tolist()
    sure = of_host(measure, rest, host_lengths_B, labels)
    return [
        LabelMetrics(*one, confidence_measure=measure)
        for one in zip(sure, blank_shares, entropies, strict=True)
    ]


def with_text(label: Label, text: str) -> Label:
    """With what its text says of it."""
    repeated, all_of_them = repeated_trigrams(label.tokens)
    metrics = replace(
        label.metrics,
        repetition=repeated / max(1, all_of_them),
        compression_ratio=compression_ratio(text),
    )
    return replace(label, metrics=metrics)


def token_weights(confidences: Sequence[float]) -> list[float] | None:
    """Of a label's tokens and its end in the loss: proportional to their confidences, 1 on average.

    None, all alike, where there are none. The confidence score of STAR (Hu et al. 2024, arXiv 2405.14161),
    normalised over the utterance as there; without its attentive score, for which each model needs a chosen
    head of attention.
    """
    mean = math.fsum(confidences) / max(1, len(confidences))
    return [one / mean for one in confidences] if mean > 0 else None


def length_ratio(tokens: int, seconds: float, tokens_per_second: float) -> float:
    """Of a label, against what transcripts have; 1 where their rate is not known (0): no length is odd then."""
    if not tokens_per_second:
        return 1.0
    return tokens / max(1e-9, seconds * tokens_per_second)


def repeated_trigrams(tokens: list[int]) -> tuple[int, int]:
    """(those that have occurred before in the same tokens, all)."""
    trigrams = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return trigrams.total() - len(trigrams), trigrams.total()
