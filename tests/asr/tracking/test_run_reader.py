"""A resumed run's lines are counted once."""

from __future__ import annotations

import json
import math
from pathlib import Path

from asr.report import curves
from asr.tracking.run_reader import read_run


def test_resumed_run_counts_the_last_line_of_a_step(tmp_path: Path) -> None:
    lines = [
        {"step": s, "hours": s / 10, "loss": loss} for s, loss in ((1, 5.0), (2, 4.0), (2, 3.0))
    ]
    lines.append({"step": 3, "hours": 0.3, "loss": math.nan})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    run = read_run(tmp_path)
    [series] = curves.curve(run.training, "loss", "loss", curves.STUDENT)
    assert (list(series.hours), list(series.values)) == ([0.1, 0.2], [5.0, 3.0])
