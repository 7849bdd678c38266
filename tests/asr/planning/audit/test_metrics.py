"""Distances in the spread of kappa = 1, and verdicts on them."""

from __future__ import annotations

import numpy as np
import pytest

from asr.planning.audit.metrics import Cell, compare, verdict


def test_distances_are_in_units_of_the_seed_spread() -> None:
    random = np.random.default_rng(0)
    hours = [float(h) for h in range(1, 11)]

    def cell(offset: float) -> dict[str, list[tuple[float, float]]]:
        values = 50 + offset + 2.0 * random.standard_normal() * np.ones(10)
        return {"teacher_wer": list(zip(hours, values.tolist(), strict=True))}

    seeds = range(200)
    curves = {Cell(1.0, "full", s): cell(0.0) for s in seeds}
    curves |= {Cell(4.0, "full", s): cell(0.0) for s in seeds}
    curves |= {Cell(4.0, "none", s): cell(12.0) for s in seeds}
    found = {(d.kappa, d.rule): d for d in compare(curves, 10.0, 1.0)}
    assert found[1.0, "full"].curve_in_spreads == pytest.approx(1.0, rel=0.01)
    assert found[1.0, "full"].final_spread == pytest.approx(2.0, rel=0.2)
    assert found[4.0, "full"].curve_in_spreads == pytest.approx(1.0, rel=0.2)
    assert abs(found[4.0, "full"].final_in_spreads or 9) < 0.3
    assert found[4.0, "none"].final_in_spreads == pytest.approx(6.0, rel=0.2)


def test_verdicts() -> None:
    assert verdict(None).startswith("no spread")
    assert verdict(-0.9) == "within seed spread"
    assert verdict(1.9) == "within twice the seed spread"
    assert verdict(-3.04) == "3.0 seed spreads away"
