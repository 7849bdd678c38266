"""What CTC can align, and what it costs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from asr.model.tokenizer import BLANK
from asr.utils.devices import fetched, sent


def shortest_feasible(tokens: Sequence[int]) -> int:
    """Frames that CTC needs for `tokens`: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def is_feasible(tokens: Sequence[int], frames: int) -> bool:
    """Whether CTC can emit `tokens` in so many output frames."""
    return shortest_feasible(tokens) <= frames


def collapse(path_S: Tensor) -> list[int]:
    """Tokens of a frame-wise path (S,): repeats merged, then blanks dropped."""
    merged = torch.unique_consecutive(path_S)
    tokens: list[int] = merged[merged != BLANK].tolist()
    return tokens


def best_paths(logits_BSV: Tensor, lengths_B: Tensor) -> list[list[int]]:
    """Tokens of each utterance's greedy path; logits (B, S, V), lengths (B,) in frames."""
    return collapsed(*fetched(logits_BSV.argmax(dim=-1), lengths_B))


def collapsed(paths_BS: Tensor, lengths_B: Tensor) -> list[list[int]]:
    """`collapse` of each of paths (B, S) of lengths (B,), both on the host."""
    return [
        collapse(path_S[:frames])
        for path_S, frames in zip(paths_BS, lengths_B.tolist(), strict=True)
    ]


def ctc_losses(logits_BSV: Tensor, lengths_B: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """CTC loss (B,) in nats, fp32, of logits (B, S, V) with lengths (B,).

    torch wants the lengths on the host: a GPU is not waited for where they are there.
    """
    flat = torch.tensor([token for target in targets for token in target], dtype=torch.long)
    losses_B: Tensor = functional.ctc_loss(
        logits_BSV.float().log_softmax(-1).transpose(0, 1),
        sent(flat, logits_BSV.device),
        lengths_B,
        torch.tensor([len(target) for target in targets]),
        blank=BLANK,
        reduction="none",
    )
    return losses_B
