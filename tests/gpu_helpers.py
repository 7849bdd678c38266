"""What tests of a card have in common; all of it runs on a CPU, too."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import asr_command

HAS_CARD = torch.cuda.is_available()
needs_card = pytest.mark.skipif(not HAS_CARD, reason="no GPU that torch can use")
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.slow),  # to see that the test itself works
    pytest.param("cuda", marks=needs_card),
]
PEAK_TFLOPS = {
    "H200": 989.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "4090": 165.0,
}
"""Dense bf16 with sums in fp32, by what is in the card's name: its makers' data sheets."""


def run_asr(*arguments: str | Path, device: str) -> str:
    """A command of ours in a process of its own; what it printed."""
    command = [*asr_command(), *map(str, arguments), "--device", device]
    done = subprocess.run(
        command, env=os.environ, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def busy_share(intervals: Iterable[tuple[float, float]], begin: float, end: float) -> float:
    """Of the time from `begin` to `end` that which some (start, stop) covers; they may overlap."""
    covered, until = 0.0, begin
    for start, stop in sorted(intervals):
        start, stop = max(start, until), min(stop, end)
        if stop > start:
            covered, until = covered + stop - start, stop
    return covered / (end - begin)


def kernels(trace: Path) -> list[tuple[float, float]]:
    """When a card was at work, in microseconds, by a trace that torch.profiler exported."""
    events = json.loads(trace.read_text())["traceEvents"]
    works = ("kernel", "gpu_memcpy", "gpu_memset")
    return [(e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in works]


def flops_of_a_second(config: Any, parameters: int) -> float:
    """Of model FLOPs in a forward and a backward pass over a second of audio, attention's left out.

    6 for each parameter and frame (Kaplan et al. 2020, arXiv 2001.08361, section 2.1): all of our encoder's
    parameters act on each of its frames. LayerDrop's share is not computed.
    """
    frames = 1000 / config.features.hop_ms / config.model.stride
    return 6.0 * parameters * frames * (1.0 - config.model.layer_drop)


def peak_flops() -> float | None:
    """Of this card; ASR_PEAK_TFLOPS in the environment where it is not known."""
    own = os.environ.get("ASR_PEAK_TFLOPS")
    if own:
        return 1e12 * float(own)
    name = torch.cuda.get_device_name() if HAS_CARD else ""
    return next((1e12 * value for key, value in PEAK_TFLOPS.items() if key in name), None)
