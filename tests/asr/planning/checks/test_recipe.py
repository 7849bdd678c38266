"""What is noted of a recipe's own numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from check_helpers import check

from asr.config.recipe import load_config
from asr.planning.checks.pseudo_labels import check_method


def test_a_trial_run_may_have_the_schedule_of_a_long_one(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["teacher.half_life_hours=5", "optimizer.warmup_hours=3", "optimizer.decay=linear"]
    settings += ["optimizer.decay_start_hours=4", f"output={tmp_path / 'run'}"]
    status, said = check(capsys, recipe, *settings)
    assert status == 0
    assert "note: the teacher's half-life (5.0 h) is longer than the run" in said
    assert "note: optimizer.warmup_hours 3 is not before trainer.total_hours" in said


def test_many_ranks(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--ranks", "8", f"output={tmp_path / 'run'}"]
    status, said = check(capsys, recipe, *settings)
    assert status == 0
    assert "note: a global batch gives each of 8 ranks" in said
    per_rank = ["batch.batch_seconds=null", "batch.batch_seconds_per_rank=30"]
    status, said = check(capsys, recipe, *settings, *per_rank)
    assert status == 2
    assert "on 8 rank(s): optimizer.betas" in said


def test_a_pass_more_for_padding_alone(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"output={tmp_path / 'run'}", "batch.batch_seconds=20"]
    said = check(capsys, recipe, *settings, "batch.max_seconds_per_micro_batch=20")[1]
    assert "note: the 20 s of a rank come to about 22.15 s" in said
    [limit] = re.findall(r"batch\.max_seconds_per_micro_batch=\d+", said)
    assert "a pass more" not in check(capsys, recipe, *settings, limit)[1]


def test_a_least_confidence_wants_its_measure_named(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"output={tmp_path / 'run'}", "pseudo_label.filters.min_confidence=0.9"]
    status, said = check(capsys, recipe, *settings)
    assert status == 0
    assert (
        "note: pseudo_label.filters.min_confidence 0.9 is by likelihood; name the measure" in said
    )
    for measure in ("frames", "likelihood"):
        named = f"pseudo_label.filters.confidence={measure}"
        assert "min_confidence" not in check(capsys, recipe, *settings, named)[1]


def test_a_head_that_nothing_has_taught_judges_no_label(recipe: Path, tmp_path: Path) -> None:
    whisper = "{kind: encoder_decoder, pretrained: nowhere, ctc_weight: 0.3}"
    settings = [f"model={whisper}", "tokenizer={kind: pretrained}", f"output={tmp_path}"]
    settings += ["pseudo_label.filters.min_ctc_score=0.1", "pseudo_label.start_hours=0"]

    def said(*more: str) -> list[str]:
        config = load_config(recipe, [*settings, *more])
        return [one.what for one in check_method(config, []) if "min_ctc_score" in one.what]

    assert len(said("corpus.labelled=[]")) == 1
    assert not said("corpus.labelled=[]", "init_from=elsewhere")
    assert not said()
