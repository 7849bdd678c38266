"""A run whose batch changes, and what it logged."""

from __future__ import annotations

from pathlib import Path

from conftest import read_lines

SCHEDULE = "batch.batch_seconds=[[0,15],[0.02,60],[0.055,30]]"
LONG = "trainer.total_hours=0.08"


def updates(run: Path) -> list[dict[str, float]]:
    return [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
