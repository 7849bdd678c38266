"""The ledger's files across resumes and forks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_helpers import row
from pyarrow import parquet

from asr.__main__ import main
from asr.errors import UserError
from asr.pseudo_labels.ledger import LabelLedger, copy_ledger, read_ledger


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


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_bit_is_noticed_and_the_file_named(run: Path, where: float, bit: int) -> None:
    path = next((run / "pseudo_labels/labels").glob("*.parquet"))
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(where * len(content))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        with pytest.raises(UserError, match=path.name):
            read_ledger(run, "labels")
    finally:
        path.write_bytes(content)


def test_labels_of_a_batch_are_never_counted_twice(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a backup is put back beside what the run has labelled anew."""
    path = min((run / "pseudo_labels/labels").glob("*.parquet"))
    copy = path.with_name("000000001-000000001.parquet")
    shutil.copy(path, copy)
    assert main(["labels", "stats", str(run)]) == 2
    said = capsys.readouterr().err
    assert path.name in said
    assert copy.name in said
    copy.unlink()
    assert main(["labels", "stats", str(run)]) == 0


def test_an_older_run_s_file_that_is_cut_short_is_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((run / "pseudo_labels/labels").glob("*.parquet"))
    older = path.rename(path.with_name("000000001-000000001.parquet"))
    older.write_bytes(older.read_bytes()[:100])
    assert main(["labels", "stats", str(run)]) == 2
    assert older.name in capsys.readouterr().err


def test_reasons_of_older_runs_are_read_by_their_names_of_today(tmp_path: Path) -> None:
    ledger = LabelLedger(tmp_path, 0)
    older = [
        row("a", "ab", 1.0, dropped="forgotten"),
        row("b", "ab", 1.0),
        row("c", "", 1.0, dropped="empty"),
    ]
    ledger.note_labels(1, older)
    ledger.write(1)
    ledger.note_labels(2, [row("a", "ab", 2.0, dropped="invalidated")])
    ledger.write(2)
    dropped = read_ledger(tmp_path, "labels")["dropped"].to_pylist()
    assert dropped == ["invalidated", None, "empty", "invalidated"]
    assert len(read_ledger(tmp_path, "labels", without=["dropped"])) == 4


def test_the_measure_of_confidence_is_named_and_an_older_ledger_s_is_the_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = LabelLedger(tmp_path, 0)
    ledger.note_labels(1, [row("a", "ab", 1.0, errors=None)])
    ledger.write(1)
    [path] = (tmp_path / "pseudo_labels/labels").glob("*.parquet")
    older = parquet.read_table(path).drop_columns(["confidence_measure"])
    path.unlink()
    parquet.write_table(older, path.with_name("000000001-000000001.parquet"))
    assert main(["labels", "stats", str(tmp_path)]) == 0
    assert "confidence by frames\n" in capsys.readouterr().out

    made = row("b", "ab", 2.0, errors=None)
    metrics = replace(made.label.metrics, confidence_measure="likelihood")
    ledger.note_labels(2, [replace(made, label=replace(made.label, metrics=metrics))])
    ledger.write(2)
    assert read_ledger(tmp_path, "labels")["confidence_measure"].to_pylist() == [None, "likelihood"]
    assert main(["labels", "stats", str(tmp_path)]) == 0
    assert "confidence by frames, then likelihood\n" in capsys.readouterr().out
    assert main(["labels", "worst", str(tmp_path)]) == 0
    assert "lack of confidence (frames, likelihood)" in capsys.readouterr().out


def test_much_is_written_meanwhile_and_is_there_at_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.pseudo_labels.ledger._MOST_ROWS_HELD", 2)
    ledger = LabelLedger(tmp_path, 0)
    for batch in (1, 2, 3, 4):
        ledger.note_labels(batch, [row("a", "ab", float(batch))])
        ledger.write(batch, wait=False)
    ledger.write(4)
    assert read_ledger(tmp_path, "labels")["batch"].to_pylist() == [1, 2, 3, 4]
    files = sorted(path.name for path in (tmp_path / "pseudo_labels/labels").iterdir())
    spans = ["000000001-000000002", "000000003-000000004"]
    assert [name.split(".")[0] for name in files] == spans
    ledger.note_labels(5, [row("a", "ab", 5.0), row("b", "ab", 5.0)])
    (tmp_path / "pseudo_labels/labels").rename(tmp_path / "elsewhere")
    (tmp_path / "pseudo_labels/labels").write_text("no folder")
    ledger.write(5, wait=False)
    with pytest.raises(OSError, match="labels"):
        ledger.write(5)
