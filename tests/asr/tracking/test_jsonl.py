"""metrics.jsonl: cut back to the checkpoint that a run goes on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.tracking.jsonl import JsonLines
from asr.tracking.scaling_history import note_card


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ('{"step": 1}\n{"step": 2}\n{"step": 3}\n', 2),
        ('{"step": 1, "batch": 1}\n{"step": 1, "batch": 2}\n{"step": 2, "batch": 3}\n', 2),
        ('{"step": 1}\n{"ste', 1),
        ('{"step": 1}\n{"step": 2}', 1),
        ("", 0),
    ],
)
def test_what_comes_after_the_checkpoint_is_dropped_and_a_broken_last_line(
    tmp_path: Path, content: str, kept: int
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(content, encoding="utf-8")
    lines = JsonLines(path, batches=2)
    lines.write({"step": 9, "text": "ё"})
    lines.close()
    expected = [*content.splitlines()[:kept], '{"step": 9, "text": "ё"}']
    assert path.read_text(encoding="utf-8").splitlines() == expected


def test_a_bad_line_costs_itself_and_is_said(tmp_path: Path) -> None:
    """All after it was dropped, without a word."""
    path = tmp_path / "metrics.jsonl"
    bad = b'nonsense\n{"hours": 1}\n[1]\n\xff\xfe\n'
    path.write_bytes(b'{"step": 1}\n' + bad + b'{"step": 2}\n{"step": 3}\n')
    lines = JsonLines(path, batches=2)
    lines.close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert lines.fault == f"{path}: 4 unreadable lines left out; the others are kept"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"history": 3}', '{"history": [{}]}'])
def test_a_damaged_scaling_json_begins_anew_and_is_said(tmp_path: Path, content: str) -> None:
    card = {"ranks": 1, "rule": "full", "in_force": {}, "horizon_hours": {}, "from_hours": 2.0}
    (tmp_path / "scaling.json").write_text(content)
    note = note_card(tmp_path, card)
    assert note is not None
    assert "damaged" in note
    assert json.loads((tmp_path / "scaling.json").read_text())["history"] == [card]
    assert note_card(tmp_path, {**card, "from_hours": 3.0}) is None
