"""Adam's second moment where kappa changes in mid-run: by how much the squares of its gradients will change.

Where gradients are mostly noise, their squares fall as 1 / kappa: the square-root rule's condition (Malladi et
al. 2022, arXiv 2205.10287). But Adam sees clipped gradients: one that is always clipped has the threshold's
norm at any kappa, and its square does not change at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

NORMS_KEPT = 32
"""Gradient norms of the last updates, from which the change is predicted."""


def second_moment_factor(
    gradient_norms: Sequence[float],
    growth: float,
    threshold_before: float,
    threshold_after: float,
) -> float:
    """Mean square of the clipped gradients to come over that of those behind.

    `gradient_norms` are those of the last updates, before clipping; `growth` is new over old kappa; a threshold
    of 0 clips nothing. 1 / growth where none is clipped or known.
    """
    before = [_clipped_square(norm**2, threshold_before) for norm in gradient_norms]
    after = [_clipped_square(norm**2 / growth, threshold_after) for norm in gradient_norms]
    total = math.fsum(before)
    return math.fsum(after) / total if total > 0.0 else 1.0 / growth


def norms_at(gradient_norms: Sequence[float], growth: float) -> list[float]:
    """What the norms would be at a kappa `growth` times as large, until those are observed."""
    return [norm / math.sqrt(growth) for norm in gradient_norms]


def _clipped_square(square: float, threshold: float) -> float:
    return min(square, threshold**2) if threshold > 0.0 else square
