"""A preparation by several processes that is ended, or loses one: one line, and what was done is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from conftest import SAMPLE_RATE_HZ, asr_command, tones

FILES = 520


def _kill_worker(process: subprocess.Popen[bytes]) -> None:
    workers = psutil.Process(process.pid).children()
    next(one for one in workers if "spawn_main" in " ".join(one.cmdline())).kill()


def _to_all(number: signal.Signals) -> Callable[[subprocess.Popen[bytes]], None]:
    return lambda process: os.killpg(process.pid, number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        (_to_all(signal.SIGINT), 130, "asr prepare: interrupted"),
        (_to_all(signal.SIGTERM), 143, "asr prepare: ended by SIGTERM"),
        (_kill_worker, 2, "asr prepare: a worker process was killed"),
    ],
)
def test_many_processes_end_as_one(
    tmp_path: Path, end: Callable[[subprocess.Popen[bytes]], None], status: int, says: str
) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    samples = tones("abc de fgh", np.random.default_rng(0))
    soundfile.write(root / "0.ogg", samples, SAMPLE_RATE_HZ)
    for number in range(1, FILES):
        shutil.copyfile(root / "0.ogg", root / f"{number}.ogg")
    command = [*asr_command(), "prepare", "folder", "--root", str(root)]
    command += ["--output", str(output), "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    journal, deadline = output / ".partial/checked.jsonl", time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if journal.is_file() and journal.stat().st_size:
            break
        time.sleep(0.01)
    end(process)
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == status, said
    assert [line for line in said.splitlines() if line.strip()][-1].startswith(says), said
    assert "Traceback" not in said
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "continuing an interrupted preparation" in done.stdout
