"""LARS beside its formula, at every precision and ZeRO stage."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_helpers import on_ranks


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_steps_are_those_of_the_formula(ranks: int, tmp_path: Path) -> None:
    """Of whole weights, however they are cut."""
    distances = on_ranks("distances", ranks, tmp_path, "lars_engine")
    assert len(distances) == 11
    assert max(distances.values()) < 1e-4, distances
