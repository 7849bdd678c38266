"""What the rest of the library needs of an encoder.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width,
L layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from asr.model.dropout import Layer, through_kept
from asr.model.encoders.outputs import note_output
from asr.model.encoders.recompute import recomputed


class Encoder(nn.Module, ABC):
    """Speech with its lengths -> hidden states with theirs; masked, so that a batch changes nothing."""

    width: int
    """D"""
    stride: int
    """Input frames of an encoder frame."""
    layers: int
    """Layers that LayerDrop may skip."""
    layer_drop: float
    """Probability of each to be skipped; drawn by the caller, who passes `kept_BL`."""
    recomputes = False
    """Whether the backward pass computes layers again, and keeps their inputs alone."""

    def save(self, folder: Path) -> None:
        """Write what describes a pretrained encoder into a checkpoint's folder, weights aside."""

    @abstractmethod
    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Encoder frames S (B,) of utterances with `lengths_B` input frames."""

    @abstractmethod
    def set_dropout(self, dropout: float, layer_drop: float) -> None:
        """Change dropout and LayerDrop from here on."""

    @abstractmethod
    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (B, S, D) and their lengths (B,) in encoder frames.

        `reach` limits, for inference, how many encoder frames away a frame may attend; None is no limit.

        `kept_BL` is the caller's LayerDrop decision, booleans on the CPU: a layer is skipped whole by the
        utterances that drop it, without rescaling (`dropout.through_kept`). It is an argument, and not drawn
        here, because it belongs to the utterance and not to the batch.
        """

    def _through(
        self, layer: Layer, hidden_BSD: Tensor, mask_BS: Tensor, kept_B: Tensor | None
    ) -> Tensor:
        """One of the layers, of the utterances that keep it."""
        if self.recomputes and torch.is_grad_enabled():
            device = hidden_BSD.device
            layer = recomputed(layer, lambda: self._drawing(device))
        return note_output(through_kept(layer, hidden_BSD, mask_BS, kept_B))

    def _drawing(self, device: torch.device) -> AbstractContextManager[object]:
        """What layers are computed in."""
        return nullcontext()
