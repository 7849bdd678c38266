"""metrics.jsonl: cut back to the checkpoint that a run goes on from."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.tracking.jsonl import JsonLines


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ('{"step": 1}\n{"step": 2}\n{"step": 3}\n', 2),
        ('{"step": 1, "batch": 1}\n{"step": 1, "batch": 2}\n{"step": 2, "batch": 3}\n', 2),
        ('{"step": 1}\n{"ste', 1),
        ('{"step": 1}\n{"step": 2}', 1),
        ('{"step": 1}\nnonsense\n{"step": 2}\n', 1),
        ("", 0),
    ],
)
def test_what_comes_after_the_checkpoint_is_dropped_and_broken_lines_end_it(
    tmp_path: Path, content: str, kept: int
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(content, encoding="utf-8")
    lines = JsonLines(path, batches=2)
    lines.write({"step": 9, "text": "ё"})
    lines.close()
    expected = [*content.splitlines()[:kept], '{"step": 9, "text": "ё"}']
    assert path.read_text(encoding="utf-8").splitlines() == expected
