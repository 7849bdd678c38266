"""A report says of labels that were not usable that they were not, with the figure and a remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_helpers import parsed

from asr.__main__ import main
from asr.report.run_warnings import run_warnings
from asr.tracking.run_reader import Run


def line(hours: float, wer: float | None, estimate: float | None, labels: bool) -> dict[str, Any]:
    return {
        "step": round(hours * 100),
        "hours": hours,
        "loss": 1.0,
        "labelling_dev_wer": wer,
        "pseudo_label_confidence": 0.3 if labels else None,
        "pseudo_label_wer_estimate": estimate,
        "pseudo_labelled_share": 0.5 if labels else 0.0,
    }


def test_labels_of_a_bad_teacher() -> None:
    run = Run(training=[line(3.9, 96.0, None, False), line(4.0, 95.6, 97.0, True)])
    run.training.append(line(9.0, 91.2, 92.4, True))
    [said] = run_warnings(run, {})
    assert "at 4 hours what wrote them had a dev WER of 95.6 %" in said
    assert "its dev WER is 91.2 %, and about 92 % of their words are wrong" in said
    assert "init_from" in said


@pytest.mark.parametrize("wer", [69.0, None])
def test_nothing_is_said_of_a_good_teacher_or_an_unknown_one(wer: float | None) -> None:
    run = Run(training=[line(4.0, wer, None, True)])
    assert run_warnings(run, {"pseudo_label": {"start_hours": 4}}) == []


def test_labels_that_never_began() -> None:
    run = Run(training=[line(4.0, 95.6, None, False)])
    start = {"hours": 2.0, "dev_wer_below": 70.0}
    [said] = run_warnings(run, {"pseudo_label": {"start": start}})
    assert (
        "dev WER of what would label is 95.6 %, and pseudo_label.start.dev_wer_below is 70" in said
    )
    assert run_warnings(run, {"pseudo_label": {"start": {**start, "hours": 9.0}}}) == []


def test_it_is_on_the_page_in_the_results_and_in_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line(4.0, 95.6, 97.0, True), line(9.0, 91.2, 92.4, True)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert main(["report", str(tmp_path)]) == 0
    assert "warning: The pseudo-labels were not usable" in capsys.readouterr().out
    page = (tmp_path / "report" / "index.html").read_text()
    parsed(page)
    assert "dev WER of 95.6 %" in page
    assert "about 92&nbsp;% are wrong: an estimate" in page
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert len(results["warnings"]) == 1
    assert "not usable" in (tmp_path / "report" / "report.md").read_text()


def test_a_student_that_ends_on_the_plateau() -> None:
    last = {
        **line(4.0, None, None, False),
        "blank_plateau_hours": 0.5,
        "student_blank_share": 0.999,
    }
    [said] = run_warnings(Run(training=[last]), {})
    assert "blanks alone for 0.5 hours (99.9 % of the frames" in said
    assert run_warnings(Run(training=[{**last, "blank_plateau_hours": 0.01}]), {}) == []
    assert run_warnings(Run(training=[{**last, "blank_plateau_hours": None}]), {}) == []
