"""The metrics of an update keep their contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import read_lines

from asr.scaling.rule import teacher_momentum

METRICS = {
    "step",
    "hours",
    "kappa",
    "learning_rate",
    "teacher_momentum",
    "loss",
    "loss_labelled",
    "loss_pseudo_labelled",
    "batch_seconds",
    "pseudo_labelled_share",
    "padding_share",
    "data_wait_share",
    "wall_seconds",
    "pseudo_labels_dropped",
    "gradient_noise_scale_seconds",
    "gradient_noise_scale_error_seconds",
    "gradient_signal_share",
    "step_deviation_percent",
    "clipped_share",
}


def test_metrics_keep_their_contract(trained: Path) -> None:
    lines = read_lines(trained / "metrics.jsonl")
    updates = [line for line in lines if "loss" in line]
    assert all(line.keys() >= METRICS for line in updates)
    assert [line["step"] for line in updates] == list(range(1, len(updates) + 1))
    assert updates[-1]["hours"] * 3600 == pytest.approx(sum(u["batch_seconds"] for u in updates))
    for line in updates:
        expected = teacher_momentum(line["batch_seconds"], half_life_hours=0.01)
        assert line["teacher_momentum"] == pytest.approx(expected)
        assert 0 <= line["average_momentum"] <= line["teacher_momentum"], "a warm-up forgets faster"
    evaluations = [line for line in lines if "wer" in line]
    assert {line["model"] for line in evaluations} == {"student", "teacher"}
    assert all({"step", "hours", "set", "wer", "cer"} <= line.keys() for line in evaluations)
    assert updates[0]["pseudo_labelled_share"] == 0.0
    assert any(line["pseudo_labelled_share"] > 0 for line in updates), "never pseudo-labelled"
    assert updates[-1]["pseudo_label_cer"] is not None, "references were not used"
