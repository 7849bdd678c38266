"""What `asr labels` refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_helpers import make_ledger

from asr.__main__ import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_ledger(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats", "nowhere"], "holds no labels"),
        (["stats", "RUN", "--every", "0"], "a number of hours above 0"),
        (["stats", "RUN", "--every", "-1"], "a number of hours above 0"),
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
