"""Runs of an encoder-decoder: labels by generation, on ranks whose texts end at different lengths."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
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
UNTRANSCRIBED = ["corpus.labelled=[]", "pseudo_label.start_hours=0"]
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
    labels = [
        line for line in read_lines(whole / "metrics.jsonl") if line.get("pseudo_label_entropy")
    ]
    assert labels, "labels are written"
    assert [
        line for line in read_lines(whole / "metrics.jsonl") if line.get("loss_pseudo_labelled")
    ]
    moved = final(whole).rename(tmp_path / "moved")
    out = tmp_path / "dev.jsonl"
    decode = [*asr_command(), "decode", str(moved), _dev(recipe), "--output", str(out)]
    subprocess.run(decode, check=True, capture_output=True)
    assert len(read_lines(out)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize("labeller", ["ema", "student"])
def test_ranks_and_stages_change_no_loss(
    train: Train, student: list[str], stage: int, labeller: str
) -> None:
    """Under ZeRO 3 the student's weights are in parts: who labels with them must not wait for the other."""
    plain = [*student, *UNTRANSCRIBED, f"pseudo_label.teacher={labeller}"]
    alone = train("alone", *plain)
    assert min(losses(alone)) > 0.0, "labels are trained on"
    both = train("both", *plain, f"trainer.zero_stage={stage}", ranks=2)
    assert losses(both) == pytest.approx(losses(alone), abs=1e-4)
    weights = [final(run) / "teacher.safetensors" for run in (alone, both)]
    assert relative_distance(*weights) < 1e-3


def _dev(recipe: Path) -> str:
    import yaml

    directory = yaml.safe_load(recipe.read_text(encoding="utf-8"))["corpus"]["directory"]
    return f"{directory}/dev.jsonl.gz"
