"""What `asr plan` and `asr check` say of the average and of weight decay: a line each."""

from __future__ import annotations

from typing import Any

import pytest
from scaling_helpers import config

from asr.planning.checks.recipe import check_recipe
from asr.planning.plan import full_row, render_table
from asr.planning.rule_notes import rule_notes


def recipe(teacher: dict[str, Any] | None = None, scaling: dict[str, Any] | None = None) -> Any:
    return config(
        teacher={"half_life_hours": 100.0, **(teacher or {})},
        scaling=scaling or {},
        optimizer={"kind": "adamw", "learning_rate": 1e-3, "weight_decay": 0.3},
        corpus={"labelled": ["a"], "untranscribed": ["b"]},
        pseudo_label={"start_hours": 20},
        trainer={"total_hours": 1000},
    )


def test_plan_and_check_say_start_decay_and_convention_in_a_line_each() -> None:
    """A start at 20 h and a half-life of 100 h: 87 % of what labelled was the random start, unsaid."""
    said = rule_notes(recipe())
    assert len(said) == 3
    start, decay, convention = said
    assert "at 20 h" in start
    assert "87.1 %" in start
    assert (
        "of this one it is nothing: until 1000 h the half-life is 0.1 of the audio so far" in start
    )
    assert "0.0003 a reference batch of audio at every kappa" in decay
    assert "teacher.averaged_weights midpoint" in convention
    assert [finding.what for finding in check_recipe(recipe(), 1) if finding.what in said] == said
    table = render_table([full_row(recipe(), ranks) for ranks in (1, 8)]).splitlines()
    assert [line.strip() for line in table if line.startswith("  note: ")] == [
        f"note: {line}" for line in said
    ]


@pytest.mark.parametrize(
    ("teacher", "scaling", "said"),
    [
        ({"warmup_share": 0, "bias_correction": False}, {}, "the random start is 87.1 % of it"),
        ({"warmup_share": 0}, {}, "teacher.bias_correction takes it out, and leaves the first"),
        ({"averaged_weights": "after"}, {}, "runs ahead by half an update"),
        ({"averaged_weights": "before"}, {}, "lags by half an update"),
        ({}, {"weight_decay": "none"}, "0.0003 / sqrt(kappa)"),
        ({}, {"rule": "none"}, "0.0003 a step, whatever the batch"),
    ],
)
def test_what_a_recipe_chose_instead(
    teacher: dict[str, Any], scaling: dict[str, Any], said: str
) -> None:
    assert any(said in line for line in rule_notes(recipe(teacher, scaling)))
