"""Averages of any half-life, made after the run from a few that were kept on the way.

Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models" (arXiv 2312.02696),
section 3: two averages whose weights are power functions of time are kept, snapshots of them saved, and another
average's weights over time (its profile) fitted as a combination of those of the snapshots. Here time is
hours of audio, the profiles are those of the run's own updates, and so nothing is approximated but the fit.

A power average with exponent g gives the student at hour t a weight proportional to t^g. Its width follows the
run's length; the two exponents are chosen so that at the end of the run they are as wide as averages with a
quarter of the recipe's half-life and four times it.

Shapes: U updates, S snapshots' averages.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.config.schema import Config
from asr.scaling.half_life import HalfLife, labelling_half_life

_REACH = 4.0
"""Half-lives from a quarter of the recipe's to four times it are within it."""
_SPACINGS_IN_HALF_LIFE = 2.0
_FEWEST_SPACINGS = 32
_DENSE = 16
"""Snapshots at full density; of older ones every second is kept, then every fourth..."""
_EARLY = 4
"""More of them before the first spacing is over, each at half the hours of the next: the young move far."""
_MOST_UPDATES = 20_000
_EXACT = 1e3
"""Weight, in the fit, of what must hold exactly."""
_NOISE = 0.01
"""Of the student's path: white noise beside a random walk over the whole run, as the fit weighs them."""


@dataclass(frozen=True)
class PostHocPlan:
    """What a run keeps."""

    exponents: tuple[float, float]
    spacing_hours: float
    """Audio between two snapshots."""

    def number_at(self, hours: float) -> int:
        """Of the last snapshot that was due by an hour of audio; 0 is the student at the start."""
        spacings = hours / self.spacing_hours
        if spacings >= 1.0:
            return math.floor(spacings) + _EARLY
        return max(0, math.floor(math.log2(spacings)) + _EARLY + 1) if spacings > 0.0 else 0

    def kept_of(self, numbers: Collection[int]) -> set[int]:
        """Which snapshots are still kept where these are.

        Those before the first spacing are; of the others at most 8 to 16 in each doubling of the age.
        """
        newest = max(numbers, default=0)
        first_of: dict[tuple[int, int], int] = {}
        for number in sorted(numbers):
            spacing = 1
            while newest - number >= _DENSE * spacing:
                spacing *= 2
            place = (0, number) if number <= _EARLY else (spacing, (number - _EARLY) // spacing)
            first_of.setdefault(place, number)
        return set(first_of.values())


def post_hoc_plan(config: Config) -> PostHocPlan:
    """For a recipe's half-life, at its longest, or what a warm-up makes of it by the end; and its length."""
    total = config.trainer.total_hours
    half_life = labelling_half_life(config.teacher, total).longest
    if config.teacher.warmup_share:
        half_life = min(half_life, config.teacher.warmup_share * total)
    own = math.log(2.0) * total / half_life  # t^g falls as 0.5^(age / half-life) near the end
    spacing = min(half_life / _SPACINGS_IN_HALF_LIFE, total / _FEWEST_SPACINGS)
    return PostHocPlan((own * _REACH, own / _REACH), spacing)


@dataclass(frozen=True)
class KeptAverage:
    """One power average of a snapshot."""

    hours: float
    """Of audio, when the snapshot was taken."""
    exponent: float
    """Infinite: the student itself at the start, which is kept, too."""
    start_hours: float = 0.0
    """Where it was begun, from the student of then: hour 0, or a fork."""


@dataclass(frozen=True)
class Fit:
    """A combination of kept averages."""

    coefficients: NDArray[np.float64]
    """(S,)"""
    error: float
    """Expected distance from the average that is wanted, over the distance of that from the student, where the
    student walks at random."""


def fit(
    kept: Sequence[KeptAverage],
    wanted: HalfLife,
    update_hours: Sequence[float],
    has_bias_correction: bool,
) -> Fit:
    """How to combine `kept` into an average of half-life `wanted` at the last of `update_hours`.

    `update_hours` (U,) is where the run's averages were updated, ascending; the profile of an average over
    them is exact, since its momentum over a span is the ratio of its cumulative weights. What lies before the
    first start is one weight, of the student of then.
    """
    start = min(one.start_hours for one in kept)
    edges = np.array([start, *_thinned([h for h in update_hours if h > start])])
    basis = np.array([np.diff(_cumulative(one, edges), prepend=0.0) for one in kept])
    target = np.diff(_cumulative_of(wanted, edges, has_bias_correction), prepend=0.0)
    spans = np.diff(edges, prepend=edges[0] - (edges[-1] - edges[0]) / len(edges))
    spans /= edges[-1] - edges[0]
    walk, white = np.sqrt(spans), _NOISE / np.sqrt(spans)
    matrix, goal = (
        np.concatenate([np.cumsum(one, axis=1) * walk, one * white, _EXACT * _exact(one)], axis=1)
        for one in (basis, target[None])
    )
    coefficients, *_ = np.linalg.lstsq(matrix.T, goal[0], rcond=1e-10)
    missed = np.cumsum(coefficients @ basis - target) * walk
    distance = np.cumsum(target) * walk
    return Fit(coefficients, float(np.linalg.norm(missed) / np.linalg.norm(distance)))


def _exact(profiles_SU: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S, 2): the sum of the weights, and that of the first student, who may be far from all the others."""
    return np.stack([profiles_SU.sum(axis=1), profiles_SU[:, 0]], axis=1)


def _thinned(hours: Sequence[float]) -> list[float]:
    """At most so many, the last among them."""
    step = math.ceil(len(hours) / _MOST_UPDATES)
    return list(hours[::-1][::step][::-1]) if step else []


def _cumulative(one: KeptAverage, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight in a power average of all up to each edge."""
    if math.isinf(one.exponent):
        return np.ones_like(edges)
    return np.minimum(1.0, edges / one.hours) ** (one.exponent + 1.0)


def _cumulative_of(
    wanted: HalfLife, edges: NDArray[np.float64], has_bias_correction: bool
) -> NDArray[np.float64]:
    end = float(edges[-1])
    weights = np.array([wanted.momentum(float(edge), end) for edge in edges])
    if not has_bias_correction:
        return weights
    # What lies before hour 0 is taken out; of a fork what lies before the fork is its first student.
    start = wanted.momentum(0.0, end)
    return np.asarray((weights - start) / (1.0 - start))
