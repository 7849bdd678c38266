"""Do two kinds of training run give the same? Paired differences, one a seed: tests by Student's t.

Two questions, as "no significant difference" does not say that there is none:

    different    the mean difference is not 0: the two-sided paired t-test
    equivalent   it lies within a margin on both sides: two one-sided t-tests, the larger p-value (TOST;
                 Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach",
                 J. Pharmacokinet. Biopharm. 15)

Shapes: N pairs, at least two; X any leading shape, tested each on its own.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.evaluation.student_t import quantile, two_sided, upper_tail

LEVEL = 0.05
POWER = 0.80
MOST_PAIRS = 10_000

Verdict = Literal["equivalent", "different", "cannot tell"]


def t_interval(differences_XN: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of the mean difference: its low and high ends (X)."""
    mean_X, error_X, pairs = _mean_and_error(differences_XN)
    half_X = quantile(1.0 - LEVEL / 2.0, pairs - 1) * error_X
    return mean_X - half_X, mean_X + half_X


def p_different(differences_XN: ArrayLike) -> NDArray[np.float64]:
    """Two-sided p-values (X) of a mean difference of 0; 1 where all differences are 0."""
    mean_X, error_X, pairs = _mean_and_error(differences_XN)
    return two_sided(_ratio(mean_X, error_X), pairs - 1)


def p_equivalent(differences_XN: ArrayLike, margin: ArrayLike) -> NDArray[np.float64]:
    """p-values (X) of a mean difference of the mean margin or more, on either side.

    `margin` is a number; or, where it was itself estimated of the same pairs, its values (broadcast to X, N):
    both tests are of the pairs' sums and differences with it, and so know of its error.
    """
    differences_XN, margin_XN = np.broadcast_arrays(differences_XN, margin)
    p_values = []
    for inside_XN in (margin_XN - differences_XN, margin_XN + differences_XN):
        mean_X, error_X, pairs = _mean_and_error(inside_XN)
        p_values.append(upper_tail(_ratio(mean_X, error_X), pairs - 1))
    return np.maximum(*p_values)


def judge(p_equivalent: float | None, p_different: float | None) -> Verdict:
    """What the two p-values say together; None where a test was not made.

    A difference that is both certain and certainly within the margin is "equivalent": the margin is what the
    user calls small. `p_different` is to be corrected for the number of comparisons; `p_equivalent` need not be
    where the claim is that all of them are equivalent (Berger 1982: each is tested at the level of the claim).
    """
    if p_equivalent is not None and p_equivalent <= LEVEL:
        return "equivalent"
    if p_different is not None and p_different <= LEVEL:
        return "different"
    return "cannot tell"


def pairs_needed(deviation: float, margin: float, comparisons: int = 1) -> int:
    """Pairs at which a verdict can be expected, `MOST_PAIRS` at the most.

    With a power of 80 % each, what is equal is then found equivalent, and what is off by the margin different
    (also at the strictest level of Holm's correction for so many comparisons). `deviation` is the standard
    deviation of the differences. The smallest N >= (t_(1 - a) + t_(1 - b))^2 (deviation / margin)^2 with N - 1
    degrees of freedom, where a, b are 5 % and 10 % for the one and 2.5 % / comparisons and 20 % for the other
    (Julious 2004, "Sample sizes for clinical trials with normal data", Statistics in Medicine 23).
    """
    if margin <= 0.0:
        return MOST_PAIRS
    missed = 1.0 - POWER
    tails = ((LEVEL, missed / 2.0), (LEVEL / 2.0 / comparisons, missed))
    needed = 2
    for level, miss in tails:
        square, normal = (deviation / margin) ** 2, NormalDist()
        # t is above the normal quantile, so fewer than by that cannot do.
        least = square * (normal.inv_cdf(1.0 - level) + normal.inv_cdf(1.0 - miss)) ** 2
        needed = min(MOST_PAIRS, max(needed, math.ceil(least)))
        while needed < MOST_PAIRS and needed < square * (
            (quantile(1.0 - level, needed - 1) + quantile(1.0 - miss, needed - 1)) ** 2
        ):
            needed += 1
    return needed


def _mean_and_error(
    differences_XN: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Mean and its standard error (X), and N."""
    values_XN = np.asarray(differences_XN, dtype=np.float64)
    pairs = values_XN.shape[-1]
    assert pairs >= 2
    error_X = values_XN.std(axis=-1, ddof=1) / math.sqrt(pairs)
    return values_XN.mean(axis=-1), error_X, pairs


def _ratio(distance_X: NDArray[np.float64], error_X: NDArray[np.float64]) -> NDArray[np.float64]:
    """t; infinite where all differences are the same, 0 where they are all at no distance."""
    at_nothing = np.where(distance_X == 0.0, 0.0, np.copysign(np.inf, distance_X))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error_X > 0.0, distance_X / error_X, at_nothing)
