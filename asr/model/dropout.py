"""Dropout and LayerDrop whose draws belong to the utterance, and not to the batch that it is in.

A batch at kappa = 8 then has the noise of eight at kappa = 1, and ranks and micro-batches change no draw.

Shape suffixes: B utterances, S encoder frames, D width, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr.utils.devices import sent


@dataclass(frozen=True)
class UtteranceDraws:
    """Whose dropout is drawn in a forward pass, on a CPU: a generator an utterance."""

    generators: Sequence[torch.Generator]
    frames: Sequence[int]
    """Encoder frames of each. Padding draws nothing, so that a longer neighbour changes nothing."""

    def bytes_like(self, hidden_BSD: Tensor) -> Tensor:
        """Uniform bytes (B, S, D); 0 beyond an utterance's end."""
        drawn_BSD = torch.zeros(hidden_BSD.shape, dtype=torch.uint8)
        for own_SD, generator, frames in zip(drawn_BSD, self.generators, self.frames, strict=True):
            count = frames * hidden_BSD.shape[-1]
            own_SD.view(-1)[:count] = _random_bytes(count, generator)
        return drawn_BSD

    def copy(self) -> UtteranceDraws:
        """The same draws once more."""
        generators = [torch.Generator() for _ in self.generators]
        for own, generator in zip(generators, self.generators, strict=True):
            own.set_state(generator.get_state())
        return UtteranceDraws(generators, self.frames)

    def of(self, rows: Sequence[int]) -> UtteranceDraws:
        """Those of some utterances."""
        return UtteranceDraws([self.generators[r] for r in rows], [self.frames[r] for r in rows])


_draws: ContextVar[UtteranceDraws | None] = ContextVar("draws", default=None)


def current_draws() -> UtteranceDraws | None:
    """Those of the forward pass that is under way."""
    return _draws.get()


@contextmanager
def drawn_by(draws: UtteranceDraws | None) -> Iterator[None]:
    """Forward passes inside of it draw their dropout from `draws`; None is torch's global generator."""
    token = _draws.set(draws)
    try:
        yield
    finally:
        _draws.reset(token)


class Dropout(nn.Dropout):
    """Dropout of hidden states (B, S, D), whose CPU version draws a byte for each element.

    torch's own takes a tenth to a fifth of a training step on a CPU. The rate is rounded to 1/256 there;
    survivors are scaled by the rounded rate, so that the expectation is exact. On a GPU, where a kernel an
    utterance would cost too much, torch's own draws for the whole micro-batch.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        threshold = round(self.p * 256)
        if hidden.device.type != "cpu" or not self.training or threshold == 0:
            return super().forward(hidden)
        drawn = _drawn_bytes_like(hidden)
        return hidden * ((drawn >= threshold).to(hidden.dtype) * (256 / (256 - threshold)))


@torch.compiler.disable  # type: ignore[untyped-decorator]  # Inductor takes bytes of integers for integers
def _drawn_bytes_like(hidden: Tensor) -> Tensor:
    """Uniform bytes: the utterances' own draws, or torch's for the whole batch."""
    draws = _draws.get()
    if draws is not None:
        return draws.bytes_like(hidden)
    return _random_bytes(hidden.numel(), None).view(hidden.shape)


def _random_bytes(count: int, generator: torch.Generator | None) -> Tensor:
    words = torch.empty((count + 7) // 8, dtype=torch.int64)
    return words.random_(-(2**63), None, generator=generator).view(torch.uint8)[:count]


Layer = Callable[[Tensor, Tensor], Tensor]
"""(hidden states (B, S, D), mask (B, S)) -> hidden states (B, S, D)"""


def through_kept(
    layer: Layer, hidden_BSD: Tensor, mask_BS: Tensor, kept_B: Tensor | None
) -> Tensor:
    """LayerDrop: `layer` of the utterances that keep it (all at None), the others as they are.

    Only what is kept is computed; `kept_B` are booleans on the CPU. The layer always runs and always has a
    gradient, if only of zeros: under ZeRO 3 a pass is a collective, and another rank may have kept it.
    """
    if kept_B is None or bool(kept_B.all()):
        return layer(hidden_BSD, mask_BS)
    rows_B = kept_B.nonzero()[:, 0]
    rows = rows_B.tolist()
    draws = _draws.get()
    # Who drops the layer draws nothing in it.
    with drawn_by(draws.of(rows) if draws and rows else None):
        if not rows:
            return hidden_BSD + 0.0 * layer(hidden_BSD[:1], mask_BS[:1]).sum()
        places = sent(rows_B, hidden_BSD.device)
        changed_BSD = layer(hidden_BSD.index_select(0, places), mask_BS.index_select(0, places))
    # Under autocast a block may answer in fp32 what it was given in bf16.
    return hidden_BSD.to(changed_BSD.dtype).index_copy(0, places, changed_BSD)
