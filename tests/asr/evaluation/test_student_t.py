"""Student's t against printed tables, closed forms and its own density."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr.evaluation.student_t import quantile, two_sided, upper_tail

# Abramowitz & Stegun, table 26.10: t of the two-sided 10, 5 and 1 %.
TABLE = {
    1: (6.314, 12.706, 63.657),
    2: (2.920, 4.303, 9.925),
    4: (2.132, 2.776, 4.604),
    9: (1.833, 2.262, 3.250),
    30: (1.697, 2.042, 2.750),
    120: (1.658, 1.980, 2.617),
}


@pytest.mark.parametrize("degrees_of_freedom", TABLE)
def test_quantiles_are_those_of_the_tables(degrees_of_freedom: int) -> None:
    found = [quantile(p, degrees_of_freedom) for p in (0.95, 0.975, 0.995)]
    assert found == pytest.approx(TABLE[degrees_of_freedom], abs=6e-4)
    assert quantile(0.025, degrees_of_freedom) == -quantile(0.975, degrees_of_freedom)
    assert two_sided(found, degrees_of_freedom) == pytest.approx([0.1, 0.05, 0.01], rel=1e-9)


def test_tails_are_those_of_the_closed_forms() -> None:
    t = np.array([-1e6, -3.0, -0.5, 0.0, 1e-9, 0.3, 1.0, 2.0, 17.0, 1e5, np.inf])
    one = np.arctan2(1.0, t) / math.pi  # Cauchy
    assert upper_tail(t, 1) == pytest.approx(one, rel=1e-12, abs=1e-17)
    with np.errstate(invalid="ignore"):
        root = np.sqrt(2.0 + t**2)
        two = np.where(t > 0, 1.0 / (root * (root + t)), 0.5 - t / (2.0 * root))
    assert upper_tail(t, 2) == pytest.approx(two, rel=1e-12, abs=1e-17)


@pytest.mark.parametrize("degrees_of_freedom", [3, 7, 29, 400, 100_000])
def test_tails_are_the_integral_of_the_density(degrees_of_freedom: int) -> None:
    nu = degrees_of_freedom
    grid = np.linspace(0.0, 2.5, 20_001)
    log_constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
    area = np.trapezoid(np.exp(log_constant - (nu + 1) / 2 * np.log1p(grid**2 / nu)), grid)
    assert float(upper_tail(2.5, nu)) == pytest.approx(0.5 - area, abs=1e-8)
