"""`asr report` writes a page and says where."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from report_helpers import make_run

from asr.cli import report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(run), "--note", "only a test"]) == 0
    assert "index.html" in capsys.readouterr().out
    assert "only a test" in (run / "report/index.html").read_text(encoding="utf-8")


def test_a_page_is_written_again_while_the_run_trains(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, opened, slept = run / "report/index.html", list[str](), list[float]()
    (run / "complete.json").unlink(missing_ok=True)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert 'http-equiv="refresh" content="5"' in page.read_text(encoding="utf-8")
        page.unlink()
        (run / "complete.json").write_text("{}")

    monkeypatch.setattr(report.time, "sleep", sleep)
    monkeypatch.setattr(report.webbrowser, "open", opened.append)
    assert report.main([str(run), "--watch", "5", "--open"]) == 0
    assert slept == [5.0]
    assert 'http-equiv="refresh"' not in page.read_text(encoding="utf-8")
    assert opened == [page.resolve().as_uri()]


def test_a_baseline_is_decoded_where_that_is_missing_and_compared(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exp, other = (shutil.copytree(trained, tmp_path / name) for name in ("exp", "other"))
    assert report.main([str(exp), "--baseline", str(other), "--no-audio"]) == 0
    said = capsys.readouterr().out
    assert f"decoding dev with {exp}, which has not been done" in said
    assert f"decoding dev with {other}/checkpoints/" in said
    assert f"{exp} against {other}: the baseline's WER, p = 1, not significant" in said
    assert "warning: " + str(exp / "decode") not in said
    assert "equal hours" not in said
    files = {path: path.stat().st_mtime_ns for path in (exp / "decode").rglob("*.jsonl")}
    assert {path.name for path in files} == {"teacher.jsonl", "supervised.jsonl"}
    assert report.main([str(exp), "--baseline", str(trained), "--no-audio"]) == 0
    said = capsys.readouterr().out
    assert "decoding" not in said
    assert f"not of {trained}: delete it, and it is decoded anew" in said
    assert {path: path.stat().st_mtime_ns for path in files} == files
