"""Labels wait until what labels is fit to; what it is not fit to is said, with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import (
    FLUENT,
    PLAIN,
    Train,
    asr_command,
    final,
    kill_after_lines,
    read_lines,
    without_wall_time,
)

LIMIT = 60.0
WAITS = [
    *PLAIN,
    *FLUENT,
    "corpus.dev=[dev,labelled]",  # enough utterances to estimate errors by
    "pseudo_label.start_hours=0.01",
    f"pseudo_label.start.dev_wer_below={LIMIT:g}",
    "trainer.evaluation_every_hours=0.012",
    "trainer.checkpoint_every_hours=0.04",
    "trainer.total_hours=0.1",
]


def labelled_from(run: Path) -> float:
    """Hours before the first update with untranscribed speech."""
    lines = [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    ids = read_lines(run / "utterances.jsonl")
    first = next(n for n, line in enumerate(ids) if line["untranscribed"])
    return float(lines[first]["hours"] - lines[first]["batch_seconds"] / 3600)


def mean_wers(run: Path) -> list[tuple[float, float]]:
    """(hours, mean dev WER of the average)."""
    found: dict[float, list[float]] = {}
    for line in read_lines(run / "metrics.jsonl"):
        if line.get("model") == "teacher":
            found.setdefault(line["hours"], []).append(line["wer"])
    return [(hours, sum(wers) / len(wers)) for hours, wers in found.items()]


@pytest.fixture(scope="module")
def waited(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose labels waited. Read only."""
    import subprocess

    run = tmp_path_factory.mktemp("waited") / "run"
    command = [*asr_command(), "train", str(recipe), f"output={run}", *WAITS]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return run


def test_labels_begin_at_the_first_evaluation_below_the_limit(waited: Path) -> None:
    wers = mean_wers(waited)
    fit = next(hours for hours, wer in wers if wer < LIMIT)
    assert fit > wers[0][0], "the first evaluation was not good enough"
    # Of a batch's one group, the first of a period may be labelled.
    begin = labelled_from(waited)
    assert fit - 1e-9 <= begin < fit + 2 * 5.5 / 3600
    log = (waited / "train.log").read_text()
    assert "labels wait: the dev WER of what would label is" in log
    assert f"{begin:8.2f} h  labels begin; dev WER of what labels:" in log
    assert "never began" not in log


def test_the_errors_of_labels_are_estimated_from_dev(waited: Path) -> None:
    lines = [line for line in read_lines(waited / "metrics.jsonl") if "loss" in line]
    known = [line for line in lines if line["pseudo_label_wer_estimate"] is not None]
    assert {line["hours"] for line in known} >= {
        line["hours"] for line in lines if line["pseudo_label_wer"] is not None
    }
    # Untranscribed speech is as dev is here: the estimate is what the references say.
    last = known[-1]
    assert last["pseudo_label_wer_estimate"] == pytest.approx(last["pseudo_label_wer"], abs=12)
    assert "%, estimated by their confidence and dev's" in (waited / "train.log").read_text()
    assert known[0]["pseudo_label_wer_estimate"] > last["pseudo_label_wer_estimate"]


def test_asr_labels_stats_has_the_estimate(
    waited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from asr.__main__ import main

    assert main(["labels", "stats", str(waited)]) == 0
    said = capsys.readouterr().out
    assert "est. WER %" in said


@pytest.mark.slow
def test_what_was_read_ahead_changes_nothing(waited: Path, train: Train) -> None:
    other = train("other", *WAITS, "trainer.loader_workers=2")
    assert without_wall_time(other) == without_wall_time(waited)


@pytest.mark.slow
def test_two_ranks_open_where_one_does(waited: Path, train: Train) -> None:
    two = train("two", *WAITS, ranks=2)
    assert labelled_from(two) == labelled_from(waited)
    names = [read_lines(run / "utterances.jsonl") for run in (waited, two)]
    for one, other in zip(*names, strict=True):
        for kind in ("labelled", "untranscribed"):
            assert sorted(one[kind]) == sorted(other[kind])


@pytest.mark.slow
@pytest.mark.parametrize("lines", [9, 20])
def test_a_killed_run_opens_where_a_whole_one_does(
    waited: Path, train: Train, recipe: Path, tmp_path: Path, lines: int
) -> None:
    often = [*WAITS, "trainer.checkpoint_every_hours=0.012"]
    whole = train("whole", *often)
    run = tmp_path / "killed"
    kill_after_lines([*asr_command(), "train", str(recipe), f"output={run}", *often], run, lines)
    train("killed", *often)
    assert without_wall_time(run) == without_wall_time(whole)


def test_a_bad_teacher_is_named_with_its_figure_and_a_remedy(trained: Path) -> None:
    log = (trained / "train.log").read_text()
    begin = next(line for line in log.splitlines() if "labels begin; dev WER" in line)
    assert float(begin.split("labels: ")[1].split(" %")[0]) > 70
    warning = next(line for line in log.splitlines() if "warning: what labels" in line)
    assert "above 70 %" in warning
    assert "pseudo_label.start.dev_wer_below" in warning
    lines = [line for line in read_lines(trained / "metrics.jsonl") if "loss" in line]
    first: dict[str, Any] = next(line for line in lines if line["pseudo_labelled_share"] > 0)
    assert first["labelling_dev_wer"] > 70
    assert first["pseudo_label_wer_estimate"] is None, "eight dev utterances say nothing"


def test_a_fork_knows_the_dev_wer_of_its_burn_in(fluent: Path, train: Train) -> None:
    settings = [*PLAIN, *FLUENT, "pseudo_label.start_hours=0.01", "trainer.total_hours=0.13"]
    limit = "pseudo_label.start.dev_wer_below=50"
    run = train("fork", *settings, limit, f"fork_from={final(fluent)}")
    lines = read_lines(run / "utterances.jsonl")
    parents = len(read_lines(fluent / "utterances.jsonl"))
    assert any(line["untranscribed"] for line in lines[parents : parents + 2])


def test_labels_that_never_began_are_said_at_the_end(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import subprocess

    run = tmp_path / "never"
    settings = [*PLAIN, "pseudo_label.start.dev_wer_below=0.01", "trainer.total_hours=0.025"]
    command = [*asr_command(), "train", str(recipe), f"output={run}", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = done.stdout.split("passes over it are")
    assert "note: 1.0" in before, "minutes of labelled speech"
    assert "they wait until its dev WER is below 0.01 %" in after
    assert "never began: the last dev WER of what would label was" in done.stdout
    assert all(not line["untranscribed"] for line in read_lines(run / "utterances.jsonl"))
