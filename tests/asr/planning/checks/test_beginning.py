"""What hours are in a small corpus, and labels that cannot be usable, are said before any hour is spent."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_helpers import check

from asr.config.recipe import load_config
from asr.planning.checks.beginning import check_hours
from asr.planning.checks.finding import Finding
from asr.training.start.resolved import about_passes, resolved

HOURS = 0.25


def found(recipe: Path, hours: float, *settings: str) -> list[Finding]:
    return list(check_hours(load_config(recipe, ["trainer.total_hours=20", *settings]), hours))


def test_a_bad_start_is_a_problem_with_figures_and_a_remedy(recipe: Path) -> None:
    passes, labels = found(recipe, HOURS, "pseudo_label.start_hours=4")
    assert not passes.is_problem
    assert "30, 100, 300 passes over it are 7.5, 25, 75 hours of audio" in passes.what
    assert "trainer.total_hours 20 is 80 passes, and labels begin after 16" in passes.what
    assert labels.is_problem
    assert "labels begin at 4 h, after 16 passes over 15 minutes of labelled speech" in labels.what
    assert "will not be usable" in labels.what
    assert "init_from" in labels.remedy
    assert "pseudo_label.start.dev_wer_below=70" in labels.remedy


@pytest.mark.parametrize(
    ("hours", "settings", "problems"),
    [
        (0.5, ["pseudo_label.start_hours=4"], 1),  # 8 passes
        (0.5, ["pseudo_label.start_hours=16"], 0),
        (0.25, ["pseudo_label.start_hours=16"], 1),  # 64 passes, over too little
        (1.5, ["pseudo_label.start_hours=0"], 0),
        (0.25, ["pseudo_label.start_hours=null"], 0),
        (0.25, ["pseudo_label.start.dev_wer_below=70"], 0),
        (0.25, ["init_from=somewhere"], 0),
        (0.25, ["fork_from=somewhere"], 0),
        (0.25, ["trainer.total_hours=0.5"], 0),  # a trial of the path
    ],
)
def test_what_is_no_problem(recipe: Path, hours: float, settings: list[str], problems: int) -> None:
    assert sum(one.is_problem for one in found(recipe, hours, *settings)) == problems


def test_asr_check_says_it_of_a_corpus(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [
        "trainer.total_hours=null",
        "trainer.total_passes=100",
        "trainer.evaluation_every_hours=1",
    ]
    settings += ["trainer.checkpoint_every_hours=1", f"output={tmp_path / 'run'}"]
    status, said = check(capsys, recipe, *settings)
    assert status == 2
    assert "its labels will not be usable" in said
    assert "passes over it are" in said
    assert "note: trainer.total_passes 100: 1.7" in said


def test_passes_become_hours_of_the_labelled_speech(recipe: Path, tmp_path: Path) -> None:
    settings = [
        "trainer.total_hours=null",
        "trainer.total_passes=4",
        "pseudo_label.start_hours=null",
    ]
    given = load_config(recipe, [*settings, "pseudo_label.start.passes=2"])
    config = resolved(given)
    hours = config.trainer.total_hours / 4
    assert hours == pytest.approx(0.0171, abs=1e-3)  # as its preparation says
    assert config.pseudo_label.start_hours == pytest.approx(2 * hours)
    assert resolved(config) == config
    lines = list(about_passes(given, config))
    assert lines == [
        f"pseudo_label.start.passes 2: {2 * hours:.4g} h of audio",
        f"trainer.total_passes 4: {4 * hours:.4g} h of audio",
    ]
    assert list(about_passes(config, config)) == []
