"""`asr report` writes a page and says where."""

from __future__ import annotations

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
