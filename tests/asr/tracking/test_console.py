"""A line a minute, where no terminal has a bar, and in train.log."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.tracking.console import Console


def test_a_line_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([0.0, 0.0, 30.0, 90.0, 100.0, 300.0])
    console = Console(tmp_path, 1.0, 4.0, shows=True, clock=lambda: next(seconds))
    record = {"loss": 2.0, "data_wait_share": 0.25, "padding_share": 0.1}
    labels = {"loss_labelled": 1.5, "loss_pseudo_labelled": 2.5, "pseudo_label_confidence": 0.875}
    for hours in (1.1, 1.5, 1.6):
        console.update({**record, "hours": hours}, 12.0)
    console.update({**record, **labels, "hours": 2.0}, 12.0)
    console.close()
    expected = [
        "    1.50 h  of 4 h  loss 2.000  20 x real time  wait 25%  padding 10%  8 min left",
        "    2.00 h  of 4 h  loss 2.000 (transcripts 1.500, labels 2.500)  confidence 0.88  "
        "12 x real time  wait 25%  padding 10%  10 min left",
    ]
    assert (tmp_path / "train.log").read_text().splitlines() == expected
    assert capsys.readouterr().err.splitlines() == expected
