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
