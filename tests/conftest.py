"""A generated corpus of tones, one per letter, and ways to train on it in this process or others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import pytest
import soundfile
import yaml
from safetensors.torch import load_file

LETTERS = "abcdefgh"
SAMPLE_RATE_HZ = 16_000

needs_beam_search = pytest.mark.skipif(
    find_spec("flashlight") is None, reason="flashlight-text is not installed"
)


def tones(text: str, random: np.random.Generator) -> np.ndarray:
    """A waveform that spells `text`: 0.12 s a letter, silence for a space."""
    time = np.arange(int(0.12 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pieces = [
        np.zeros_like(time)
        if letter == " "
        else 0.3 * np.sin(2 * np.pi * 300 * 1.3 ** LETTERS.index(letter) * time)
        for letter in text
    ]
    waveform = np.concatenate([np.zeros(800), *pieces, np.zeros(800)])
    return (waveform + 0.01 * random.standard_normal(len(waveform))).astype(np.float32)


def write_folder(root: Path, count: int, seed: int, transcribed: bool) -> None:
    """A folder as `asr prepare folder` takes it."""
    random = np.random.default_rng(seed)
    root.mkdir(parents=True)
    lines = []
    for index in range(count):
        words = [
            "".join(random.choice(list(LETTERS), random.integers(1, 4)))
            for _ in range(random.integers(2, 7))
        ]
        text = " ".join(words)
        name = f"u{seed}-{index:03d}"
        soundfile.write(root / f"{name}.wav", tones(text, random), SAMPLE_RATE_HZ, subtype="PCM_16")
        lines.append(f"{name}\t{text}\n")
    if transcribed:
        (root / "transcripts.tsv").write_text("".join(lines), encoding="utf-8")
    else:
        (root.parent / f"{root.name}.references.tsv").write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared sets `labelled`, `untranscribed` (references aside) and `dev`."""
    from asr.data_prep import cli

    folder = tmp_path_factory.mktemp("corpus")
    data = folder / "data"
    data.mkdir()
    for number, (name, count) in enumerate({"labelled": 40, "untranscribed": 40, "dev": 8}.items()):
        source = folder / "audio" / name
        write_folder(source, count, number, transcribed=name != "untranscribed")
        prepared = folder / "prepared" / name
        assert cli.main(["folder", "--root", str(source), "--output", str(prepared)]) == 0
        manifest = "untranscribed" if name == "untranscribed" else "labelled"
        (prepared / f"{manifest}.jsonl.gz").rename(data / f"{name}.jsonl.gz")
    (data / "references").mkdir()
    aside = folder / "audio" / "untranscribed.references.tsv"
    aside.rename(data / "references" / "untranscribed.tsv")
    return data


@pytest.fixture(scope="session")
def recipe(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny recipe: 15-second batches, pseudo-labels from the fourth on, 12 updates or so."""
    tree = {
        "output": "exp/tones",
        "corpus": {
            "directory": str(corpus),
            "labelled": ["labelled"],
            "untranscribed": ["untranscribed"],
            "dev": ["dev"],
        },
        "tokenizer": {"characters": LETTERS},
        "augmentation": {
            "speed_factors": [0.9, 1.0, 1.1],
            "spec_augment": {"time_masks": 2, "time_mask_frames": 10},
        },
        "model": {
            "width": 32,
            "heads": 2,
            "layers": 2,
            "feed_forward_width": 64,
            "convolution_kernel": 7,
            "norm": "pre",
            "positions": "rotary",
            "dropout": 0.1,
            "layer_drop": 0.2,
        },
        "optimizer": {"learning_rate": 3e-3, "warmup_hours": 0.005},
        "scaling": {"reference_batch_seconds": 15},
        "batch": {"batch_seconds": 15, "group_seconds": 5, "max_seconds_per_micro_batch": 20},
        "teacher": {"half_life_hours": 0.01},
        "pseudo_label": {"start_hours": 0.015, "health": {"action": "warn"}},
        "trainer": {
            "total_hours": 0.05,
            "evaluation_every_hours": 0.02,
            "checkpoint_every_hours": 0.01,
        },
    }
    path = tmp_path_factory.mktemp("recipe") / "tones.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


PLAIN = [
    "model.dropout=0",
    "model.layer_drop=0",
    "augmentation.speed_factors=[1.0]",
    "augmentation.spec_augment.time_masks=0",
    "augmentation.spec_augment.frequency_masks=0",
]
"""Overrides that switch dropout and augmentation off."""

# LayerDrop stays on: all ranks must skip the same layers.
DROP = [override for override in PLAIN if "layer_drop" not in override]


def asr_command(ranks: int = 1) -> list[str]:
    """The command line of `asr` on so many ranks."""
    if ranks == 1:
        return [sys.executable, "-m", "asr"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", str(ranks), "-m", "asr"]


_RUNS_AND_SAYS_ITS_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory(command: list[str], timeout: float | None = None) -> tuple[int, str]:
    """The most bytes of memory that a command holds, and what it prints; it must succeed.

    A small process starts it: what the parent holds counts as a process's own, until it holds more.
    """
    words = [sys.executable, "-c", _RUNS_AND_SAYS_ITS_PEAK, *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return 1024 * int(done.stdout), done.stderr


Train = Callable[..., Path]


@pytest.fixture
def train(recipe: Path, tmp_path: Path) -> Train:
    """train(name, *overrides, ranks=1): a whole run in processes of its own; returns its folder."""

    def start(name: str, *overrides: str, ranks: int = 1) -> Path:
        run = tmp_path / name
        command = [*asr_command(ranks), "train", str(recipe), f"output={run}", *overrides]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return run

    return start


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def without_wall_time(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, but for what measures wall time."""
    lines = read_lines(run / "metrics.jsonl")
    measured = ("data_wait_share", "wall_seconds")
    return [{k: v for k, v in line.items() if k not in measured} for line in lines]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_lines(run / "metrics.jsonl") if "loss" in line]


@pytest.fixture(scope="session")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe. Read only."""
    run = tmp_path_factory.mktemp("trained") / "run"
    command = [*asr_command(), "train", str(recipe), f"output={run}"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return run


@pytest.fixture(scope="session")
def fluent(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, supervised to its end, that reads the tones without an error. Read only."""
    run = tmp_path_factory.mktemp("fluent") / "run"
    command = [*asr_command(), "train", str(recipe), f"output={run}", *PLAIN, *FLUENT]
    supervised = ["pseudo_label.start_hours=null", "trainer.evaluation_every_hours=0.12"]
    subprocess.run([*command, *supervised], check=True, capture_output=True, timeout=600)
    [wer] = [
        line["wer"]
        for line in read_lines(run / "metrics.jsonl")
        if line.get("model") == "teacher" and line["hours"] > 0.12
    ]
    assert wer == 0.0
    return run


@pytest.fixture(scope="session")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run on one rank at stage 0. Read only."""
    run = tmp_path_factory.mktemp("whole") / "run"
    command = [*asr_command(), "train", str(recipe), f"output={run}", *DROP]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return run


FLUENT = [
    "model.width=64",
    "model.feed_forward_width=128",
    "optimizer.learning_rate=5e-3",
    "scaling.reference_batch_seconds=5",
    "batch.batch_seconds=5",
    "trainer.total_hours=0.12",
    "trainer.checkpoint_every_hours=0.12",
]
"""Settings with which the tones are learnt in seconds."""


def kill_after_lines(command: list[str], run: Path, lines: int) -> None:
    """SIGKILL a run, launcher and ranks, once it has logged so many more lines."""

    def logged() -> int:
        metrics = run / "metrics.jsonl"
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        start: int | None = None
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            # Lines past the checkpoint are cut off first: count from there.
            start = logged() if start is None or logged() < start else start
            if logged() >= start + lines:
                break
            time.sleep(0.005)
    finally:
        kill_all(process)


def kill_all(process: subprocess.Popen[Any]) -> None:
    """SIGKILL a run, launcher and ranks."""
    # The launcher first loses its say: it would ask its ranks to save and leave.
    process.send_signal(signal.SIGSTOP)
    for rank in psutil.Process(process.pid).children(recursive=True):
        rank.kill()
    process.send_signal(signal.SIGKILL)
    process.wait()


def same_weights(left: Path, right: Path) -> bool:
    a, b = load_file(left), load_file(right)
    return a.keys() == b.keys() and all(bool((a[name] == b[name]).all()) for name in a)


def final(run: Path) -> Path:
    return run / "checkpoints" / (run / "latest").read_text().strip()


def relative_distance(left: Path, right: Path) -> float:
    """Norm of the difference over the norm.

    Not the largest difference: where a gradient is nearly zero, Adam makes steps of its rounding noise.
    """
    a, b = load_file(left), load_file(right)
    difference = sum(float((a[name] - b[name]).square().sum()) for name in a)
    return (difference / sum(float(a[name].square().sum()) for name in a)) ** 0.5
