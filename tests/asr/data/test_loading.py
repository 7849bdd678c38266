"""Workers that read audio: where /dev/shm is small, and where one of them is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import asr_command, losses

SHORT = ["trainer.total_hours=0.015", "pseudo_label.start_hours=null", "trainer.loader_workers=1"]
SHORT += ["trainer.evaluation_every_hours=1", "trainer.checkpoint_every_hours=1"]


def can_mount() -> bool:
    """Whether this machine gives us a /dev/shm of our own."""
    if os.geteuid() or shutil.which("unshare") is None:
        return False
    line = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/dev/shm"]
    return subprocess.run(line, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs root, to mount a small /dev/shm")
def test_a_small_dev_shm_costs_time_alone(recipe: Path, tmp_path: Path) -> None:
    """The training waited for ever for what its worker could not send."""
    runs, said = {}, {}
    for size in ("64m", "100k", "4k"):
        run = runs[size] = tmp_path / size
        command = [*asr_command(), "train", str(recipe), f"output={run}", *SHORT]
        mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
        done = subprocess.run(
            ["unshare", "-m", "bash", "-c", mount, "-", *command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said[size] = [line for line in done.stderr.splitlines() if "/dev/shm" in line]
    assert losses(runs["64m"]) == losses(runs["100k"]) == losses(runs["4k"])
    assert said["64m"] == []
    assert [line.split(",")[0] for line in said["100k"]] == ["note: /dev/shm is full"]
    assert [line.split(" (")[0] for line in said["4k"]] == ["note: /dev/shm takes nothing"]


def _begun(command: list[str], run: Path) -> subprocess.Popen[str]:
    """A long training that has logged an update, so that its children are those who read audio."""
    process = subprocess.Popen(
        [*command, f"output={run}", "trainer.total_hours=100"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics, deadline = run / "metrics.jsonl", time.monotonic() + 240
    while time.monotonic() < deadline and not (metrics.is_file() and metrics.stat().st_size):
        time.sleep(0.1)
    return process


def test_a_killed_worker_is_one_line_with_its_likely_cause(recipe: Path, tmp_path: Path) -> None:
    process = _begun([*asr_command(), "train", str(recipe), *SHORT], tmp_path / "run")
    [worker] = psutil.Process(process.pid).children()
    worker.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    [line] = [line for line in errors.splitlines() if line.startswith("asr train: ")]
    # Its number is known where the loader itself has noticed.
    said = line.replace(f" (pid {worker.pid})", "")
    assert "a process that reads audio was killed, most likely since memory ran out" in said


@pytest.mark.slow
def test_a_killed_worker_of_one_rank_ends_all_of_them(recipe: Path, tmp_path: Path) -> None:
    """The other rank waited for the next update's sum."""
    command = [*asr_command(ranks=2), "train", str(recipe), *SHORT]
    process = _begun(command, tmp_path / "run")
    ranks = psutil.Process(process.pid).children()
    workers = [worker for rank in ranks for worker in rank.children()]
    ended = time.monotonic()
    workers[-1].kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert time.monotonic() - ended < 60
    host = socket.gethostname()
    said = [line for line in errors.splitlines() if line.startswith("asr")]
    assert any(f"on {host}: a process that reads audio was killed" in line for line in said), errors
    assert sum("has ended: a process that reads audio was killed" in line for line in said) == 1
    assert "exitcode: 2" in " ".join(errors.split()).replace("exitcode  : 2", "exitcode: 2")
