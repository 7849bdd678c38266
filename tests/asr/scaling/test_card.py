"""The plan's rows: steps, and batches that the ranks do not change."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from scaling_helpers import config

from asr.config.recipe import load_config
from asr.scaling.card import plan_row, steps_for


def test_plan_counts_the_steps_of_a_schedule(recipe: Path) -> None:
    config = load_config(recipe, ["batch.batch_seconds=[[0,15],[1,60]]", "trainer.total_hours=2"])
    assert plan_row(config, 1)["total_steps"] == 240 + 60
    assert plan_row(config, 1, from_hours=1.5)["kappa"] == 4


@given(st.floats(0.1, 1e5), st.floats(1, 1e4))
def test_steps_cover_the_hours(hours: float, batch_seconds: float) -> None:
    steps = steps_for(hours, batch_seconds)
    assert steps * batch_seconds >= hours * 3600 * (1 - 1e-6)
    assert (steps - 1) * batch_seconds < hours * 3600


def test_plan_rows_follow_the_batch_not_the_ranks_when_it_is_global() -> None:
    recipe = config(batch={"batch_seconds_per_rank": None, "batch_seconds": 200.0})
    assert plan_row(recipe, 1)["kappa"] == plan_row(recipe, 64)["kappa"] == 2.0
