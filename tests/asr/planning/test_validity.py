"""What a run's gradients say of the batches of a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recipe_paths import FESTVOX

from asr.config.recipe import load_config
from asr.errors import UserError
from asr.planning.plan import full_row
from asr.planning.validity import RunGradient


def read(run: Path, **fields: Any) -> RunGradient:
    line = {"step": 1, "hours": 2.0, "loss": 1.0, "gradient_noise_scale_seconds": None, **fields}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return RunGradient.read(run)


def test_the_noise_scale_of_a_run_is_told_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no metrics"):
        RunGradient.read(tmp_path)
    assert "batch.group_seconds" in read(tmp_path).describe(30.0)
    lost = {"gradient_signal": -0.1, "gradient_noise_seconds": 240.0}
    assert "larger batches still pay" in read(tmp_path, **lost).describe(30.0)
    known = {**lost, "gradient_signal": 1.0, "gradient_noise_scale_error_seconds": 31.0}
    said = read(tmp_path, **known, clipped_share=0.25).describe(30.0)
    for words in (
        "240 s of audio",
        "standard error 31 s",
        "kappa 8",
        "25 % of its updates were clipped",
    ):
        assert words in said
    once = read(tmp_path, **{**known, "gradient_noise_scale_error_seconds": None})
    assert "a single measurement" in once.describe(30.0)


def test_a_noise_scale_of_sorted_micro_batches_is_not_believed(tmp_path: Path) -> None:
    found = read(tmp_path, gradient_noise_scale_seconds=1812.0, micro_batches=8)
    assert found.noise_scale_seconds is None
    assert "still pay" not in found.describe(30.0)
    assert "too high" in found.describe(30.0)


def test_each_batch_of_a_schedule_has_its_deviation(tmp_path: Path) -> None:
    config = load_config(FESTVOX, ["batch.batch_seconds=[[0,30],[10,240]]"])
    row = full_row(config, 1)
    read(tmp_path, gradient_signal=1.0, gradient_noise_seconds=240.0).add_to(row, config)
    first, second = row["batch_schedule"]
    assert first["step_deviation_percent"] == row["step_deviation_percent"] == 0.0
    assert second["step_deviation_percent"] == pytest.approx(-25.0)
    assert second["gradient_signal_share"] == pytest.approx(0.5)
    assert any("25 % shorter than what keeps the curve" in note for note in row["notes"])
