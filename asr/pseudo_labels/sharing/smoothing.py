"""Averages that fade as labels come in, after each of many labels at once.

Shape suffixes: F what is averaged, R labels or uses in their order, N those of them at which something passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio.functional import lfilter

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothed:
    """`y = 0.5 ** (passed / half_life) * y + new`, to the last bit."""

    before_F: Floats
    moved: NDArray[np.int64]
    """Which of F are not 0 all the time; in their order, (moved, 1 + N) from before the first row on."""
    after: Floats
    done_R: NDArray[np.int64]
    """How many of N there were until a row, with it."""

    @classmethod
    def of(cls, before_F: Floats, new_FR: Floats, passed_R: Floats, half_life: float) -> Smoothed:
        """Mostly 1 passes, or nothing where a row holds zeros: then it is a recursive filter of one pole."""
        is_more_R = passed_R != 0
        moved = np.flatnonzero((before_F != 0) | new_FR.any(axis=1))
        new = new_FR[moved]
        is_more_R |= new.any(axis=0)
        rows = np.flatnonzero(is_more_R)
        signal = np.empty((len(moved), 1 + len(rows)))
        signal[:, 0] = before_F[moved]
        np.take(new, rows, axis=1, out=signal[:, 1:], mode="clip")  # which is fastest
        passed_N = passed_R[rows]
        if (passed_N == 1).all():
            signal = _filtered(signal, 0.5 ** (1 / half_life))
        else:
            for number, passed in enumerate(passed_N.tolist(), start=1):
                signal[:, number] += 0.5 ** (passed / half_life) * signal[:, number - 1]
        return cls(before_F, moved, signal, np.cumsum(is_more_R))

    def column(self, number: int) -> Floats:
        """(R,) one of F after each row."""
        place = np.flatnonzero(self.moved == number)
        if not len(place):
            return np.full(len(self.done_R), self.before_F[number])
        found: Floats = self.after[place[0]][self.done_R]
        return found

    def until(self, rows: int) -> Floats:
        """(F,) after so many rows."""
        found = self.before_F.copy()
        if rows:
            found[self.moved] = self.after[:, self.done_R[rows - 1]]
        return found


def faded(
    before_F: Floats, new_FR: Floats, passed: Sequence[tuple[Floats, float]], of_F: Sequence[int]
) -> Floats:
    """(F,) what `Smoothed.until` says after all rows, to rounding: a sum in which each row has faded.

    `passed`: (R,) and the half-life, of several clocks; `of_F`: by which of them each fades.
    """
    starts, weights = [], []
    for passed_R, half_life in passed:
        whole = passed_R.sum()
        starts.append(0.5 ** (whole / half_life))
        weights.append(np.exp2((np.cumsum(passed_R) - whole) / half_life))
    sums_FK = new_FR @ np.stack(weights, axis=1)
    rows, clocks = np.arange(len(before_F)), np.asarray(of_F)
    found: Floats = before_F * np.array(starts)[clocks] + sums_FK[rows, clocks]
    return found


def _filtered(signal: Floats, keep: float) -> Floats:
    if not signal.size:
        return signal
    poles, zeros = torch.from_numpy(np.array([[1.0, -keep], [1.0, 0.0]]))
    with torch.no_grad():
        found: Floats = lfilter(torch.from_numpy(signal), poles, zeros, clamp=False).numpy()
    return found
