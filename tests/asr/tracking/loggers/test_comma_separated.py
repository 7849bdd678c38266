"""Tables that say what metrics.jsonl says, also after a kill and a resume."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tracking_helpers import begin, evaluate, log_batches

from asr.tracking.loggers.comma_separated import CsvLogger


def rows(run: Path, table: str) -> list[dict[str, str]]:
    with (run / "csv" / f"{table}.csv").open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_a_row_a_record_and_none_twice_after_a_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    log_batches(begin(run, ["csv"]), 1, 5)
    (run / "csv" / "train.csv").open("a").write("6,6,0.")  # as a kill leaves it
    log = begin(run, ["csv"], batches=3, again=True)
    evaluate(log)
    log_batches(log, 4, 6, loss=1.0)
    log.close()
    table = rows(run, "train")
    assert [row["batch"] for row in table] == ["1", "2", "3", "4", "5", "6"]
    assert float(table[-1]["loss"]) == 1 + 1 / 6
    assert json.loads(table[0]["pseudo_labels_dropped"]) == {"empty": 1}
    [evaluation] = rows(run, "evaluations")
    assert (evaluation["set"], evaluation["wer"]) == ("dev", "9.0")


def test_a_column_that_comes_later(tmp_path: Path) -> None:
    run = tmp_path / "run"
    log = begin(run, ["csv"])
    log_batches(log, 1, 2)
    place = {"step": 3, "batch": 3, "hours": 0.3, "data_wait_share": 0.0, "padding_share": 0.0}
    log.training({**place, "loss": 1.0, "new": "a,b"}, {}, 1.0)
    log.close()
    assert [row["new"] for row in rows(run, "train")] == ["", "", "a,b"]


def test_a_logger_that_fails_is_said_once_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: CsvLogger, record: object, prefix: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CsvLogger, "log", full)
    run = tmp_path / "run"
    log = begin(run, ["csv", "tensorboard"])
    log_batches(log, 1, 5)
    log.close()
    warnings = [line for line in (run / "train.log").read_text().splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "tracking.loggers: CsvLogger: OSError: [Errno 28] No space left on device" in warnings[0]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 6
    assert any((run / "tensorboard").iterdir())
