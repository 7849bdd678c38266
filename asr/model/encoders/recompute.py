"""Activation checkpointing: of a layer the backward pass keeps its input alone, and computes the rest again.

(Chen et al. 2016, arXiv 1604.06174.) Gradients are the same, bit for bit: dropout is drawn again as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from asr.model.dropout import Layer, current_draws, drawn_by


def recomputed(layer: Layer, around: Callable[[], AbstractContextManager[object]]) -> Layer:
    """`layer`, to be computed again; `around`: a context of the forward pass that it needs then, too."""

    def run(hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        draws = current_draws()
        before = draws.copy() if draws is not None else None
        has_run = False

        def once_more(hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
            nonlocal has_run
            if not has_run:
                has_run = True
                return layer(hidden_BSD, mask_BS)
            with drawn_by(before.copy() if before is not None else None), around():
                return layer(hidden_BSD, mask_BS)

        found: Tensor = checkpoint(once_more, hidden_BSD, mask_BS, use_reentrant=False)
        return found

    return run
