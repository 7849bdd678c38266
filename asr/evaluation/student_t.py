"""Student's t distribution, of few numbers: tails and quantiles in float64, without scipy.

P(T > t) = I_x(nu / 2, 1 / 2) / 2 at t >= 0, with nu degrees of freedom, whole or not, and x = nu / (nu + t^2)
(Abramowitz & Stegun 26.5.27 and 26.7.1). I_x(a, b) is its continued fraction (26.5.8, evaluated by Lentz's
method) where that converges fast, x < (a + 1) / (a + b + 2); else 1 - I_(1 - x)(b, a).
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_TERMS = 300
_TINY = 1e-300
_PRECISION = 1e-15


def upper_tail(t: ArrayLike, degrees_of_freedom: float) -> NDArray[np.float64]:
    """P(T > t), of any shape; t may be infinite."""
    values = np.asarray(t, dtype=np.float64)
    nu = degrees_of_freedom
    with np.errstate(over="ignore"):
        square = np.square(values)
        # Both shares of nu + t^2 from their own side: neither loses digits where it is small.
        x, rest = 1.0 / (1.0 + square / nu), 1.0 / (1.0 + nu / np.maximum(square, _TINY))
    half = 0.5 * _incomplete_beta(x, rest, nu / 2.0, 0.5)
    return np.where(values >= 0.0, half, 1.0 - half)


def two_sided(t: ArrayLike, degrees_of_freedom: float) -> NDArray[np.float64]:
    """P(|T| > |t|), of any shape."""
    return 2.0 * upper_tail(np.abs(t), degrees_of_freedom)


@lru_cache(maxsize=4096)
def quantile(probability: float, degrees_of_freedom: float) -> float:
    """The t that T stays below with this probability, 0 < probability < 1.

    Newton's method: from the normal quantile, which is smaller, the convex tail is approached from one side.
    """
    assert 0.0 < probability < 1.0
    if probability < 0.5:
        return -quantile(1.0 - probability, degrees_of_freedom)
    nu = degrees_of_freedom
    log_constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
    t = NormalDist().inv_cdf(probability)
    for _ in range(_MOST_TERMS):
        density = math.exp(log_constant - 0.5 * (nu + 1) * math.log1p(t * t / nu))
        step = (float(upper_tail(t, nu)) - (1.0 - probability)) / density
        t += step
        if abs(step) <= 1e-12 * t:
            break
    return t


def _incomplete_beta(
    x: NDArray[np.float64], rest: NDArray[np.float64], a: float, b: float
) -> NDArray[np.float64]:
    """I_x(a, b), with `rest` = 1 - x."""
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    with np.errstate(divide="ignore"):
        front = np.exp(a * np.log(x) + b * np.log(rest) - log_beta)
    direct = x < (a + 1.0) / (a + b + 2.0)
    below = front * _fraction(np.where(direct, x, 0.0), a, b) / a
    above = 1.0 - front * _fraction(np.where(direct, 0.0, rest), b, a) / b
    result: NDArray[np.float64] = np.where(direct, below, above)
    return result


def _fraction(x: NDArray[np.float64], a: float, b: float) -> Any:
    """The continued fraction of I_x(a, b), by the modified Lentz method."""
    c = np.ones_like(x)
    d = 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1.0 / _not_zero(1.0 + term * d)
            c = _not_zero(1.0 + term / c)
            value = value * (c * d)
        if np.all(np.abs(value - before) <= _PRECISION * np.abs(value)):
            break
    return value


def _not_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(values) < _TINY, _TINY, values)
