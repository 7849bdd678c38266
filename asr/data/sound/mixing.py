"""Several channels as one: their mean, with those turned over that would cancel the loudest one.

A plug that is wired the wrong way makes one channel the other one upside down, and their mean silence.

Shape suffixes: N samples, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]

_OPPOSITE = -0.7
"""Of a correlation: the mean of two channels is then 8 dB below them, or more. Two microphones, or two
speakers, are not so opposite."""
_SILENT_PEAK = 1e-4
_HELD_SECONDS = 60
_MOST_HELD = 1 << 23
"""Samples of all channels, 32 MB."""


def mixed(audio_NC: Audio, signs: Sequence[int]) -> Audio:
    """The mean (N,) of channels with signs."""
    if min(signs) < 0:
        audio_NC = audio_NC * np.array(signs, audio_NC.dtype)
    mean_N: Audio = audio_NC.mean(axis=1)
    return mean_N


def signs_of(blocks: Iterable[Audio]) -> list[int]:
    """Of channels (N, C): -1 of one that is another one turned over, else 1; the first one stays as it is."""
    whole_NC = (block_NC.astype(np.float64) for block_NC in blocks)
    products_CC = np.sum([block_NC.T @ block_NC for block_NC in whole_NC], axis=0)
    powers_C = np.diag(products_CC)
    loudest = int(powers_C.argmax())
    norms_C = np.sqrt(powers_C * powers_C[loudest])
    signs_C = np.where(products_CC[loudest] < _OPPOSITE * norms_C, -1, 1)
    signs: list[int] = (signs_C * signs_C[0]).tolist()
    return signs


@dataclass
class MixDown:
    """Of a file that is read block by block: the signs are of its first minute that is not silent."""

    rate_hz: int
    signs: list[int] = field(default_factory=list)
    """Of the channels; empty until they are known, which they are after the last block."""

    def blocks(self, whole: Iterable[Audio]) -> Iterator[Audio]:
        """Each block (N, C) as one channel (N,). Up to a minute is held back, in 32 MB."""
        held, samples, is_heard = list[Audio](), 0, False
        for block_NC in whole:
            held.append(block_NC)
            samples += len(block_NC)
            is_heard = is_heard or bool(np.abs(block_NC).max(initial=0.0) > _SILENT_PEAK)
            if not self.signs and block_NC.shape[1] == 1:
                self.signs = [1]
            most = min(_HELD_SECONDS * self.rate_hz, _MOST_HELD // block_NC.shape[1])
            if self.signs or not is_heard or samples >= most:
                yield from self._mixed(held, is_heard)
                held, samples = [], 0
        if held:
            yield from self._mixed(held, is_known=True)

    def _mixed(self, held: Sequence[Audio], is_known: bool) -> Iterator[Audio]:
        if not self.signs and is_known:
            self.signs = signs_of(held)
        signs = self.signs or [1] * held[0].shape[1]
        yield from (mixed(block_NC, signs) for block_NC in held)
