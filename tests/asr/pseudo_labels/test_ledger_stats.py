"""The ledger's files across resumes and forks, and what `asr labels` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.__main__ import main
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.ledger import LabelLedger, copy_ledger, read_ledger
from asr.pseudo_labels.records import Errors, LabelRecord, LabelUseRecord


def row(
    name: str, text: str, hours: float, errors: int | None = 0, dropped: str | None = None
) -> LabelRecord:
    label = Label([1] * len(text), LabelMetrics(0.9, 0.5, hours / 10), hours, 0.25, dropped)
    known = None if errors is None else Errors(1, 2, errors, 4)
    return LabelRecord((int(hours), 7), name, 2.0, label, text, None if hours < 2 else 0.5, known)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two utterances, labelled at hours 1, 2 and 3; one of the first labels is used three times."""
    folder = tmp_path / "run"
    ledger = LabelLedger(folder, 0)
    for batch in (1, 2, 3):
        hours = float(batch)
        ledger.note_labels(
            batch, [row("a", "ab" * batch, hours, 3 - batch), row("b", "", hours, 4, "empty")]
        )
        if batch > 1:
            ledger.note_uses(batch, hours, [LabelUseRecord((1, 7), "a", batch - 1, 1.0, None)])
        ledger.write(batch)
    ledger.note_uses(4, 4.0, [LabelUseRecord((2, 7), "a", 1, 2.0, "infeasible")])
    ledger.write(4)
    return folder


def test_all_is_there_and_what_came_after_a_checkpoint_is_dropped(
    run: Path, tmp_path: Path
) -> None:
    labels = read_ledger(run, "labels").to_pylist()
    assert [(r["utterance"], r["text"], r["dropped"]) for r in labels[:2]] == [
        ("a", "ab", None),
        ("b", "", "empty"),
    ]
    assert [r["batch"] for r in labels] == [1, 1, 2, 2, 3, 3]
    assert labels[2]["tokens_per_second"] == 2.0
    fork = tmp_path / "fork"
    copy_ledger(run, fork)
    ledger = LabelLedger(fork, 2)
    assert [r["batch"] for r in read_ledger(fork, "labels").to_pylist()] == [1, 1, 2, 2]
    ledger.note_labels(3, [row("c", "other", 3.0)])
    ledger.write(3, wait=False)
    assert len(read_ledger(fork, "labels")) == 4, "little may wait"
    ledger.write(3)
    assert read_ledger(fork, "labels")["utterance"].to_pylist()[-1] == "c"
    assert len(read_ledger(run, "labels")) == 6, "the run that was forked is as it was"


def test_stats(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "stats", str(run), "--every", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["from_hours"], r["labels"]) for r in found["by_hours"]] == [(0, 2), (2, 4)]
    assert found["all"]["dropped"] == {"empty": 3}
    assert found["all"]["cer"] == pytest.approx(100 * (3 + 12) / 24)
    assert found["all"]["entropy"] == pytest.approx(0.2)
    uses = found["uses"]
    assert (uses["uses"], uses["trained_on"], uses["dropped"]) == (3, 2, {"infeasible": 1})
    assert uses["uses_per_label"] == 2.0, "of the one that was replaced"
    assert uses["age_hours"] == pytest.approx(1.5)
    assert main(["labels", "stats", str(run)]) == 0
    assert "2.0 for a label that was replaced" in capsys.readouterr().out


def test_diff(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "diff", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["utterances"], found["changed"], found["better"], found["worse"]) == (2, 1, 1, 0)
    assert found["most_changed"] == [
        {
            "utterance": "a",
            "before": "ab",
            "after": "ababab",
            "change": 2.0,
            "character_errors": [2.0, 0.0],
        }
    ]
    assert main(["labels", "diff", str(run), "--from", "2", "--to", "2.5"]) == 0
    assert "0 of 2 differ" in capsys.readouterr().out
    other = tmp_path / "other"
    ledger = LabelLedger(other, 0)
    ledger.note_labels(1, [row("a", "xx", 1.0)])
    ledger.write(1)
    assert main(["labels", "diff", str(run), str(other)]) == 0
    assert "1 of 1 differ" in capsys.readouterr().out


def test_worst(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "worst", str(run), "-n", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["by"] == "character errors"
    assert [r["utterance"] for r in found["labels"]] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats", "nowhere"], "holds no labels"),
        (["stats", "RUN", "--every", "0"], "a number of hours above 0"),
        (["stats", "RUN", "--every", "inf"], "a number of hours above 0"),
        (["diff", "RUN", "--from", "2", "--to", "1"], "the first must be the earlier"),
        (["diff", "RUN", "RUN", "--from", "0"], "two times of one run"),
        (["worst", "RUN", "-n", "0"], "at least 1"),
        (["diff", "RUN", "--from", "0.5"], "labels were made from 1.00 to 3.00 h"),
        (["diff", "RUN", "RUN", "--from", "1"], "two times of one run"),
    ],
)
def test_errors_are_a_line(
    arguments: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(run) if argument == "RUN" else argument for argument in arguments]
    assert main(["labels", *given]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_a_damaged_file_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next((run / "pseudo_labels/labels").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    assert main(["labels", "stats", str(run)]) == 2
    assert path.name in capsys.readouterr().err
