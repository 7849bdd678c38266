"""Gradients between a backward pass and a step: how ranks sum them, and those that are not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_helpers import VOCABULARY, on_ranks, tiny_config

from asr.planning.estimates import Network


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_gradient_that_is_not_finite_moves_nothing_and_leaves_nothing_behind(
    ranks: int, tmp_path: Path
) -> None:
    """NaN, infinite, or too large to square; alone, or on one rank of two. The next step is as without it."""
    assert on_ranks("skipped_updates", ranks, tmp_path) == []


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """On three ranks: dividing by their number is not exact in bf16."""
    found: dict[str, dict[str, float]] = on_ranks(
        "exchange", 3, tmp_path_factory.mktemp("exchange")
    )
    return found


@pytest.mark.slow
def test_bf16_gradients_are_summed_in_fp32(exchange: dict[str, dict[str, float]]) -> None:
    """In bf16 the sum was wrong by more than 2e-3."""
    errors = exchange["errors"].copy()
    assert errors.pop("1bf16") > 1e-3
    assert sorted(errors) == ["1", "2", "3"]
    assert max(errors.values()) < 1e-6, errors


@pytest.mark.slow
def test_the_plan_counts_the_bytes_that_ranks_send(exchange: dict[str, dict[str, float]]) -> None:
    for case, sent in exchange["sent"].items():
        precision, stage, communication = case.split()
        options: dict[str, object] = {"gradient_communication": communication}
        config = tiny_config(precision, int(stage), trainer=options)
        seconds = Network(1e-9, 0.0).seconds_per_step(config, VOCABULARY, 3, 2, 1)
        assert seconds == pytest.approx(sent, rel=0.01), case
