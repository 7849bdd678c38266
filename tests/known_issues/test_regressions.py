"""Defects that we once had."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import asr_command, read_lines

from asr.__main__ import main
from asr.config.recipe import parse_config
from asr.errors import UserError
from asr.model.model_folder import find_checkpoint


def run_train(recipe: Path, output: Path, *overrides: str, ranks: int = 1) -> tuple[int, str, str]:
    command = [*asr_command(ranks), "train", str(recipe), f"output={output}", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "copied"))


def test_a_divergence_on_two_ranks_ends_instead_of_hanging(recipe: Path, tmp_path: Path) -> None:
    # One rank left a loop of collectives by a count of its own; the other waited for ever.
    overrides = ["optimizer.learning_rate=1e15", "optimizer.max_gradient_norm=0"]
    overrides += ["trainer.non_finite_limit=3", "optimizer.warmup_hours=0"]
    status, _, errors = run_train(recipe, tmp_path / "run", *overrides, ranks=2)
    assert status != 0
    assert "NaN or infinite loss" in errors


def test_latest_catches_up_after_a_crash_between_checkpoint_and_pointer(
    copied: Path, recipe: Path
) -> None:
    # The checkpoint was found complete at the end of the repeated hours, and `latest` never moved.
    final = find_checkpoint(copied)
    before = sorted(p for p in (copied / "checkpoints").iterdir() if p.name < final.name)[-1]
    (copied / "latest").write_text(before.name + "\n")
    status, output, errors = run_train(recipe, copied)
    assert status == 0, errors
    assert f"resuming from {before}" in output
    assert find_checkpoint(copied) == final


def test_a_run_that_was_put_back_ends_with_what_it_trained(copied: Path, recipe: Path) -> None:
    # It ended with the abandoned run's weights: a checkpoint at that hour was there already.
    final = find_checkpoint(copied)
    abandoned = (final / "student.safetensors").read_bytes()
    before = sorted(p for p in (copied / "checkpoints").iterdir() if p.name < final.name)[-1]
    (copied / "latest").write_text(before.name + "\n")
    status, _, errors = run_train(recipe, copied, "optimizer.learning_rate=0.3")
    assert status == 0, errors
    assert find_checkpoint(copied) == final
    assert (final / "student.safetensors").read_bytes() != abandoned
    aside = final.with_name(f"{final.name}.left-1")
    assert (aside / "student.safetensors").read_bytes() == abandoned
    status, output, _ = run_train(recipe, copied)
    assert status == 0
    assert "nothing left to train" in output


def test_a_lost_newest_checkpoint_costs_no_logs(copied: Path, recipe: Path) -> None:
    # The run started again from zero and cut its metrics to nothing.
    metrics = read_lines(copied / "metrics.jsonl")
    shutil.rmtree(find_checkpoint(copied))
    status, output, errors = run_train(recipe, copied)
    assert status == 0, errors
    assert "resuming from" in output
    assert len(read_lines(copied / "metrics.jsonl")) == len(metrics)
    shutil.rmtree(copied / "checkpoints")
    status, _, errors = run_train(recipe, copied)
    assert status == 2
    assert "its checkpoints are gone" in errors


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch.group_seconds=15", "set batch.group_seconds="),
        ("corpus.labelled=[dev]", "other utterances in corpus.labelled"),
        ("features.sample_rate_hz=8000", "has 16000 Hz"),
    ],
)
def test_a_resume_that_would_lose_utterances_is_refused(
    copied: Path, recipe: Path, override: str, message: str
) -> None:
    status, _, errors = run_train(recipe, copied, "trainer.total_hours=0.06", override)
    assert status == 2
    assert message in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("part", ["state.json", "teacher.safetensors", "optimizer.safetensors"])
def test_a_damaged_checkpoint_is_named(copied: Path, recipe: Path, part: str) -> None:
    path = find_checkpoint(copied) / part
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, _, errors = run_train(recipe, copied, "trainer.total_hours=0.06")
    assert status == 2
    assert "damaged" in errors
    assert "Traceback" not in errors


def test_two_processes_do_not_train_in_one_folder(recipe: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, errors = run_train(recipe, tmp_path)
    assert status == 2
    assert "another process is training there" in errors


def test_a_finished_run_keeps_its_provenance(copied: Path, recipe: Path) -> None:
    before = (copied / "config.yaml").read_bytes()
    status, output, _ = run_train(recipe, copied, "optimizer.learning_rate=9")
    assert status == 0
    assert "nothing left to train" in output
    assert (copied / "config.yaml").read_bytes() == before


def test_the_deepspeed_launcher_s_option_stands_before_the_command(
    recipe: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = [str(Path(sys.executable).with_name("deepspeed")), "--num_gpus", "2"]
    command = [*launcher, "--master_port", port, "--module", "asr", "train", str(recipe)]
    command += [f"output={tmp_path}", "trainer.total_hours=0.01"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ranks 2" in done.stdout
    assert (tmp_path / "complete.json").exists()


def test_adam_takes_no_weight_decay_in_silence() -> None:
    with pytest.raises(UserError, match="needs kind adamw"):
        parse_config({"optimizer": {"kind": "adam", "weight_decay": 0.1}}, "test")


def test_an_impossible_path_is_one_line(
    trained: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "below.jsonl"
    manifest = str(corpus / "dev.jsonl.gz")
    assert main(["decode", str(trained), manifest, "--output", str(output)]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / "file") in line


def test_a_disk_that_takes_no_checkpoint_is_said_and_the_run_goes_on(
    recipe: Path, tmp_path: Path
) -> None:
    """It was a traceback of the library that writes the weights."""
    run = tmp_path / "run"
    command = [*asr_command(), "train", str(recipe), f"output={run}"]
    limited = ["bash", "-c", 'ulimit -f 100; exec "$@"', "-", *command]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "safetensors: cannot be written" in done.stderr
    assert subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == 0
