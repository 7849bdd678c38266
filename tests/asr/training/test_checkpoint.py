"""A run that was killed or cut into parts goes on exactly."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from conftest import (
    Train,
    asr_command,
    final,
    kill_after_lines,
    read_lines,
    same_weights,
    without_wall_time,
)
from training_helpers import LONG, SCHEDULE, updates


def test_a_killed_run_resumes_exactly(train: Train, recipe: Path, tmp_path: Path) -> None:
    whole = train("whole")
    killed = tmp_path / "killed"
    command = [*asr_command(), "train", str(recipe), f"output={killed}"]
    moments = random.Random(0)
    for _ in range(3):
        kill_after_lines(command, killed, moments.randint(6, 7))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    assert without_wall_time(killed) == without_wall_time(whole)
    assert read_lines(killed / "utterances.jsonl") == read_lines(whole / "utterances.jsonl")
    assert same_weights(final(killed) / "teacher.safetensors", final(whole) / "teacher.safetensors")
    assert same_weights(final(killed) / "student.safetensors", final(whole) / "student.safetensors")


@pytest.mark.slow
def test_a_progressive_run_resumes_exactly(train: Train) -> None:
    """Also where it stopped just before a jump of kappa, under a threshold that goes with kappa."""
    scaled = [SCHEDULE, "scaling.gradient_clipping=sqrt", "optimizer.max_gradient_norm=5"]
    options = [LONG, *scaled, "trainer.checkpoint_every_hours=0.005"]
    whole = train("whole", *options)
    for hours in (0.0205, 0.057):
        train("parts", *scaled, f"trainer.total_hours={hours}")
    parts = train("parts", *options)
    assert same_weights(*(final(run) / "teacher.safetensors" for run in (whole, parts)))
    losses = [[line["loss"] for line in updates(run)] for run in (whole, parts)]
    assert losses[0] == losses[1]
    histories = [json.loads((r / "scaling.json").read_text())["history"] for r in (whole, parts)]
    assert [[c["kappa"] for c in history] for history in histories] == [[1, 4, 2]] * 2
