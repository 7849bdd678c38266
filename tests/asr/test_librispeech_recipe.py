"""The LibriSpeech recipe, shrunk, on a genuine sample of the official layout where there is one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import asr_command, read_lines

from asr.__main__ import main

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT.parent / "shared/data/librispeech-sample"
TINY = [
    "corpus.untranscribed=[test-clean]",
    "corpus.dev=[dev-clean]",
    "model.width=32",
    "model.heads=2",
    "model.layers=2",
    "model.feed_forward_width=64",
    "batch.batch_seconds=60",
    "batch.batch_seconds_per_rank=null",
    "batch.group_seconds=15",
    "pseudo_label.start_hours=0",
    "trainer.total_hours=0.08",
]


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no LibriSpeech sample beside the checkout")
def test_a_few_updates_labelled_and_pseudo_labelled(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert main(["prepare", "librispeech", "--root", str(SAMPLE), "--output", str(data)]) == 0
    recipe = ROOT / "recipes/librispeech/100h_860h.yaml"
    command = [*asr_command(), "train", str(recipe), *TINY]
    command += [f"corpus.directory={data}", f"output={run}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    updates = [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    assert len(updates) >= 3
    assert any(line["loss_labelled"] for line in updates)
    assert any(line["loss_pseudo_labelled"] for line in updates)
