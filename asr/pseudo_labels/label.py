"""A pseudo-label: the tokens, and the metrics of its making.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.model.features import frame_mask
from asr.model.tokenizer import BLANK


@dataclass(frozen=True)
class LabelMetrics:
    """What a teacher's posteriors say of one utterance."""

    confidence: float
    """Mean over the frames of the posterior of the best token; 0 without frames."""
    blank_share: float
    """Of the frames, those whose best token is the blank."""
    entropy: float
    """Mean over the frames, in nats, of the distribution from which the label was decided."""


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


def label_metrics(
    logits_BSV: Tensor, lengths_B: Tensor, temperature: float | None = None
) -> list[LabelMetrics]:
    """Of each utterance, in fp32 whatever the logits are; the entropy at `temperature`, 0 at None."""
    log_BSV = logits_BSV.float().log_softmax(dim=-1)
    best_BS, path_BS = log_BSV.max(dim=-1)
    if temperature is None:
        entropy_BS = torch.zeros_like(best_BS)
    else:
        tempered_BSV = (log_BSV / temperature).log_softmax(dim=-1)
        entropy_BS = -(tempered_BSV.exp() * tempered_BSV).nan_to_num(0.0).sum(dim=-1)
    inside_BS = frame_mask(lengths_B, best_BS.shape[1])
    means = [
        # Numbers, whatever a teacher says that holds NaN: they are averaged for ever after.
        (
            values_BS.nan_to_num(0.0).masked_fill(~inside_BS, 0).sum(dim=1) / lengths_B.clamp(min=1)
        ).tolist()
        for values_BS in (best_BS.exp(), (path_BS == BLANK).float(), entropy_BS)
    ]
    return [LabelMetrics(*of_one) for of_one in zip(*means, strict=True)]


def repeated_trigrams(tokens: list[int]) -> tuple[int, int]:
    """(those that have occurred before in the same tokens, all)."""
    trigrams = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return trigrams.total() - len(trigrams), trigrams.total()
