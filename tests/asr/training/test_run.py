"""What a finished run leaves, and what a fork inherits."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import Train, asr_command, read_lines

from asr.model.model_folder import find_checkpoint


def test_the_run_folder_is_self_contained(trained: Path) -> None:
    for name in ("config.yaml", "scaling.json", "environment.json", "train.log", "complete.json"):
        assert (trained / name).stat().st_size > 0, name
    assert any((trained / "tensorboard").iterdir())
    checkpoint = find_checkpoint(trained)
    for name in ("student.safetensors", "teacher.safetensors", "tokenizer.json", "config.yaml"):
        assert (checkpoint / name).exists(), name
    # The last two, and the best by dev WER.
    assert 2 <= len(list((trained / "checkpoints").iterdir())) <= 3


def test_a_finished_run_says_so_and_removes_what_a_kill_has_left(
    trained: Path, recipe: Path
) -> None:
    """The kill came while the last checkpoint's forerunners were removed, of which one is there in part."""
    left = trained / "checkpoints/.partial-removed-hours-000000.0100"
    left.mkdir()
    (left / "config.yaml").touch()
    command = [*asr_command(), "train", str(recipe), f"output={trained}"]
    before = (trained / "metrics.jsonl").read_bytes()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing left to train" in done.stdout
    assert (trained / "metrics.jsonl").read_bytes() == before
    assert not left.exists()


def test_a_fork_goes_on_from_another_run_with_its_curves(trained: Path, train: Train) -> None:
    checkpoint = find_checkpoint(trained)
    fork = train(
        "fork",
        f"fork_from={checkpoint}",
        "trainer.total_hours=0.06",
        "pseudo_label.start_hours=null",
    )
    inherited = read_lines(trained / "metrics.jsonl")
    lines = read_lines(fork / "metrics.jsonl")
    assert lines[: len(inherited)] == inherited
    added = [line for line in lines[len(inherited) :] if "loss" in line]
    assert added[0]["step"] == [line for line in inherited if "loss" in line][-1]["step"] + 1
    assert all(line["pseudo_labelled_share"] == 0 for line in added)
