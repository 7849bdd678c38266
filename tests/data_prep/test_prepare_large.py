"""A corpus of 20,000 small files: all cores, a kill on the way, and the rate."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

FILES = 20_000


@pytest.mark.slow
def test_many_small_files_survive_a_kill(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    noise = np.random.default_rng(0).normal(0, 0.1, 3_200)
    (root / "0").mkdir(parents=True)
    soundfile.write(root / "0/0.flac", noise, 16_000)
    for number in range(1, FILES):
        folder = root / str(number // 1000)
        folder.mkdir(exist_ok=True)
        shutil.copyfile(root / "0/0.flac", folder / f"{number}.flac")
    command = [sys.executable, "-m", "asr", "prepare", "folder", "--root", str(root)]
    command += ["--output", str(output), "--jobs", "2"]

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = output / ".partial/checked.jsonl"
    workers: list[psutil.Process] = []
    shares: dict[int, float] = {}
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        workers = psutil.Process(process.pid).children(recursive=True) or workers
        shares |= {w.pid: w.cpu_times().user for w in workers if w.is_running()}
        if journal.is_file() and journal.read_bytes().count(b"\n") > FILES // 3:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    busy = sorted(shares.values())[-2:]
    assert busy[0] > 0.5 * busy[1], f"one process did the work of two: {shares}"
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "workers outlived the one that was killed"
    assert not (output / "summary.json").exists()

    again = subprocess.run(command, capture_output=True, text=True, check=True)
    continued = re.search(r"continuing .*: (\d+) recordings already checked", again.stdout)
    assert continued is not None
    assert int(continued[1]) >= FILES // 3
    rate = re.search(r"checked ([\d,]+) recordings in [\d.]+ s: ([\d,]+) a second", again.stdout)
    assert rate is not None
    assert int(rate[1].replace(",", "")) == FILES - int(continued[1])
    assert f"{FILES}" in again.stdout.splitlines()[-1]
