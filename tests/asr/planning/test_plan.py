"""Derived values against hand formulas, and the notes beside them."""

from __future__ import annotations

import math

import pytest
from recipe_paths import FESTVOX, LIBRISPEECH

from asr.config.recipe import load_config
from asr.errors import UserError
from asr.planning.plan import full_row


@pytest.mark.parametrize("ranks", [8, 64, 512])
def test_librispeech_rows_against_hand_formulas(ranks: int) -> None:
    row = full_row(load_config(LIBRISPEECH, ["scaling.betas=half_life"]), ranks)
    kappa = ranks / 8
    assert row["global_batch_seconds"] == 290 * ranks
    assert row["kappa"] == kappa
    assert row["learning_rate"] == pytest.approx(1e-3 * math.sqrt(kappa))
    assert row["betas"] == pytest.approx([0.9**kappa, 0.999**kappa])
    assert row["eps"] == pytest.approx(1e-8 / math.sqrt(kappa))
    assert row["teacher_momentum"] == pytest.approx(0.5 ** (290 * ranks / 3600 / 4467))
    assert row["total_steps"] == math.ceil(128888 * 3600 / (290 * ranks))
    assert row["half_lives_in_run"] == pytest.approx(128888 / 4467)
    assert row["micro_batches_per_rank"] == 1  # of both kinds


def test_notes_say_where_the_rule_ends() -> None:
    options = ["teacher.update_interval_seconds=290", "trainer.total_hours=4000"]
    found = " ".join(full_row(load_config(LIBRISPEECH, options), 64)["notes"])
    assert "Adam averages over less than two steps" in found
    assert "it hardly gets that long" in found
    assert "updated every step" in found
    assert not full_row(load_config(LIBRISPEECH), 8)["notes"]


def test_a_batch_schedule_is_planned_as_a_whole() -> None:
    legal = load_config(FESTVOX, ["batch.batch_seconds=[[0,30],[10,240]]"])
    row = full_row(legal, 1)
    assert [(p["from_hours"], p["kappa"]) for p in row["batch_schedule"]] == [(0, 1), (10, 8)]
    assert row["batch_schedule"][1]["learning_rate"] == pytest.approx(3e-3 * math.sqrt(8))
    assert any("less than two steps" in note for note in row["notes"])
    illegal = load_config(FESTVOX, ["batch.batch_seconds=[[0,30],[10,600]]"])
    with pytest.raises(UserError, match="kappa 20"):
        full_row(illegal, 1)
    assert "batch_schedule" not in full_row(load_config(FESTVOX), 1)


def test_a_batch_off_the_grid_of_groups_is_said() -> None:
    [note] = full_row(load_config(FESTVOX, ["batch.batch_seconds=44"]), 1)["notes"]
    assert note.startswith("a batch of 44 s becomes 30 s")


def test_the_lifted_beta_limit_has_its_note() -> None:
    [note] = full_row(load_config(LIBRISPEECH, ["scaling.betas=half_life"]), 512)["notes"]
    assert "less than two steps" in note
