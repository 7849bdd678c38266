"""How often the paired tests are wrong, simulated: what is called equivalent, different, and enough seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr.evaluation.equivalence import (
    MOST_PAIRS,
    judge,
    p_different,
    p_equivalent,
    pairs_needed,
    t_interval,
)
from asr.evaluation.significance import holm

SIMULATIONS = 20_000
ERROR = 3 * math.sqrt(0.05 * 0.95 / SIMULATIONS)  # of a share of 5 % of so many


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0, 3.0])
def test_what_is_off_by_the_margin_is_called_equivalent_one_time_in_twenty(
    seeds: int, noise: float
) -> None:
    """Of true shifts of one spread between seeds 40 % passed as "within seed spread"."""
    random = np.random.default_rng(seeds)
    for shift in (1.0, -1.0):
        differences = shift + noise * random.standard_normal((SIMULATIONS, seeds))
        found = p_equivalent(differences, 1.0) <= 0.05
        assert found.mean() <= 0.05 + ERROR


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_margin_that_was_measured_with_the_same_seeds_does_not_call_more_equivalent(
    seeds: int,
) -> None:
    """The margin is a tenth of a gap in which the cell itself stands: taken as known, 6.3 % would pass."""
    random = np.random.default_rng(seeds)
    taken_as_known = []
    for noise in (0.05, 0.2, 0.5, 1.0, 3.0):
        for shift in (1.0, -1.0):
            noise_XN = noise * random.standard_normal((2, SIMULATIONS, seeds))
            rule_XN, ablation_XN = shift + noise_XN[0], shift + 10.0 + noise_XN[1]
            margins_XN = (ablation_XN - rule_XN) / 10
            assert (p_equivalent(rule_XN, margins_XN) <= 0.05).mean() <= 0.05 + ERROR
            known_X1 = margins_XN.mean(axis=-1, keepdims=True)
            taken_as_known.append((p_equivalent(rule_XN, known_X1) <= 0.05).mean())
    assert max(taken_as_known) > 0.055


@pytest.mark.parametrize("seeds", [3, 5])
def test_where_nothing_differs_some_cell_is_called_different_one_time_in_twenty(seeds: int) -> None:
    """Of marks for two spreads, 13 % rang falsely, cell by cell."""
    random = np.random.default_rng(seeds)
    audits, cells = 4000, 10
    # All cells are compared with the same runs at kappa = 1, and so are not independent of each other.
    runs_XCN = random.standard_normal((audits, cells + 1, seeds))
    p_XC = p_different(runs_XCN[:, 1:] - runs_XCN[:, :1])
    wrong = sum(
        "different" in [judge(None, p) for p in holm(dict(enumerate(p_C))).values()]
        for p_C in p_XC.tolist()
    )
    assert wrong / audits <= 0.05
    assert (p_XC <= 0.05).mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_of_few_seeds_cover_95_percent(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    low, high = t_interval(7.0 + random.standard_normal((SIMULATIONS, seeds)))
    assert ((low <= 7.0) & (high >= 7.0)).mean() == pytest.approx(0.95, abs=ERROR)


@pytest.mark.parametrize("spread_in_margins", [0.6, 1.0, 2.5])
def test_with_the_seeds_that_would_be_needed_four_of_five_are_told(
    spread_in_margins: float,
) -> None:
    random, cells = np.random.default_rng(0), 10

    def power(pairs: int) -> tuple[float, float]:
        equal = spread_in_margins * random.standard_normal((SIMULATIONS, pairs))
        found = p_equivalent(equal, 1.0) <= 0.05, p_different(equal + 1.0) <= 0.05 / cells
        return float(found[0].mean()), float(found[1].mean())

    needed = pairs_needed(spread_in_margins, 1.0, cells)
    assert min(power(needed)) > 0.78
    assert min(power(max(2, round(0.8 * needed) - 1))) < 0.78


def test_what_one_difference_says() -> None:
    assert judge(0.01, 0.01) == "equivalent", (
        "a certain difference within the margin is a small one"
    )
    assert judge(0.2, 0.01) == "different"
    assert judge(0.2, 0.2) == judge(None, None) == "cannot tell"
    assert float(p_different([0.0, 0.0, 0.0])) == 1.0
    assert float(p_different([0.25, 0.25])) == 0.0
    assert float(p_equivalent([0.0, 0.0], 1.0)) == 0.0
    assert float(p_equivalent([2.0, 2.0], 1.0)) == 1.0
    assert pairs_needed(1.0, 0.0) == pairs_needed(1.0, 1e-9) == MOST_PAIRS
    assert pairs_needed(0.0, 1.0) == 2
