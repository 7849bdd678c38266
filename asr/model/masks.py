"""Masks inside of an encoder, on its front end's output: spans, and SpecAugment where its input is a waveform.

Shape suffixes: B utterances, S encoder frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from torch import Tensor


class Masks(Protocol):
    """What masks the utterances of a forward pass."""

    def __call__(
        self, features_BTF: Tensor, lengths_B: Tensor, *, filling_F: Tensor | None = None
    ) -> Tensor:
        """Features (B, T, F) with masks; a masked frame becomes `filling_F`, or zeros."""


_masks: ContextVar[tuple[Masks, ...]] = ContextVar("masks", default=())


@contextmanager
def masked_by(masks: Masks | None) -> Iterator[None]:
    """Encoders that mask inside do so by `masks`, too, in forward passes inside of it; None is no mask."""
    token = _masks.set(_masks.get() if masks is None else (*_masks.get(), masks))
    try:
        yield
    finally:
        _masks.reset(token)


def masked(hidden_BSD: Tensor, frames_B: Tensor, filling_D: Tensor | None) -> Tensor:
    """Hidden states with the masks of the moment, if there are any."""
    for masks in _masks.get():
        hidden_BSD = masks(hidden_BSD, frames_B, filling_F=filling_D)
    return hidden_BSD
