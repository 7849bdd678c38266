"""Runs of an encoder-decoder: labels by generation, on ranks whose texts end at different lengths."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import (
    Train,
    asr_command,
    final,
    kill_after_lines,
    losses,
    read_lines,
    relative_distance,
    same_weights,
    without_wall_time,
)

pytest.importorskip("transformers")

from whisper_helpers import write_whisper

TRANSCRIBED = ["corpus.max_seconds=4.5", "pseudo_label.filters.max_compression_ratio=null"]
UNTRANSCRIBED = [
    "corpus.labelled=[]",
    "pseudo_label.start_hours=0",
    "pseudo_label.decision=oracle",  # what a random model writes never ends
]
STUDENT = ["pseudo_label.teacher=student", "trainer.total_hours=0.04"]
SHORT = ["trainer.total_hours=0.03", "optimizer.warmup_hours=0.002"]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that make the student a tiny random Whisper."""
    folder = tmp_path_factory.mktemp("whisper")
    write_whisper(folder, scale=4.0)
    model = f"model={{kind: encoder_decoder, pretrained: {folder}, layer_drop: 0.2, dropout: 0.1}}"
    return [model, "tokenizer={kind: pretrained}", *TRANSCRIBED, *SHORT]


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly_and_its_folder_needs_no_other(
    train: Train, recipe: Path, student: list[str], tmp_path: Path
) -> None:
    whole = train("whole", *student)
    killed = tmp_path / "killed"
    command = [*asr_command(), "train", str(recipe), f"output={killed}", *student]
    kill_after_lines(command, killed, 6)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    assert without_wall_time(killed) == without_wall_time(whole)
    for name in ("student", "teacher"):
        paths = [final(run) / f"{name}.safetensors" for run in (killed, whole)]
        assert same_weights(*paths)
    lines = [
        line for line in read_lines(whole / "metrics.jsonl") if "pseudo_labels_dropped" in line
    ]
    # What a random model writes never ends.
    assert any(line["pseudo_labels_dropped"].get("unfinished") for line in lines)
    moved = final(whole).rename(tmp_path / "moved")
    out = tmp_path / "dev.jsonl"
    decode = [*asr_command(), "decode", str(moved), _dev(recipe), "--output", str(out)]
    subprocess.run(decode, check=True, capture_output=True)
    assert len(read_lines(out)) == 8


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "more"), [(0, UNTRANSCRIBED), (2, UNTRANSCRIBED), (3, STUDENT)])
def test_ranks_and_stages_change_no_loss(
    train: Train, student: list[str], stage: int, more: list[str]
) -> None:
    """Under ZeRO 3 the student's weights are in parts: who labels with them must not wait for the other."""
    alone = train("alone", *student, *more)
    assert min(losses(alone)) > 0.0
    both = train("both", *student, *more, f"trainer.zero_stage={stage}", ranks=2)
    assert losses(both) == pytest.approx(losses(alone), abs=1e-4)
    weights = [final(run) / "teacher.safetensors" for run in (alone, both)]
    assert relative_distance(*weights) < 1e-3
    dev = [*asr_command(), "decode", str(both), _dev_of(both), "--output", str(both / "dev.jsonl")]
    subprocess.run(dev, check=True, capture_output=True)
    # Nothing is left to do, but it must be read again to know.
    assert losses(train("both", *student, *more)) == losses(both)


def _dev(recipe: Path) -> str:
    return _of(yaml.safe_load(recipe.read_text(encoding="utf-8")))


def _dev_of(run: Path) -> str:
    return _of(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))


def _of(tree: dict[str, Any]) -> str:
    return f"{tree['corpus']['directory']}/dev.jsonl.gz"
