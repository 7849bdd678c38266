"""What CTC can align, and what it costs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from asr.tokenizer import BLANK


def shortest_feasible(tokens: Sequence[int]) -> int:
    """Frames that CTC needs for `tokens`: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def ctc_losses(logits_BSV: Tensor, lengths_B: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """CTC loss (B,) in nats, fp32, of logits (B, S, V) with lengths (B,)."""
    device = logits_BSV.device
    losses_B: Tensor = functional.ctc_loss(
        logits_BSV.float().log_softmax(-1).transpose(0, 1),
        torch.tensor([token for target in targets for token in target], device=device),
        lengths_B,
        torch.tensor([len(target) for target in targets], device=device),
        blank=BLANK,
        reduction="none",
    )
    return losses_B
