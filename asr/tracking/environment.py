"""Versions and machine of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def environment() -> dict[str, str]:
    """Versions and machine, for environment.json."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "machine": _machine(),
        "commit": commit() or "unknown",
    }
    for package in (
        "torch",
        "torchaudio",
        "deepspeed",
        "lhotse",
        "jiwer",
        "sentencepiece",
        "numpy",
    ):
        found[package] = metadata.version(package)
    return found


def _machine() -> str:
    """Its GPUs, or its cores, by their makers' names."""
    from asr.utils.devices import has_gpu

    if has_gpu():
        import torch

        count = torch.cuda.device_count()
        return (
            f"{count} x {torch.cuda.get_device_name()}"
            if count > 1
            else torch.cuda.get_device_name()
        )
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
    )
    return f"{os.cpu_count()} cores ({name or platform.machine()})"


def commit() -> str | None:
    """Of the checkout that this code lies in; None of an installed copy, also in somebody else's checkout."""
    file = Path(__file__).resolve()
    found = ""
    for question in (
        ["ls-files", "--error-unmatch", file.name],
        ["describe", "--always", "--dirty", "--abbrev=12"],
    ):
        command = ["git", "-C", str(file.parent), *question]
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if answer.returncode:
            return None
        found = answer.stdout.strip()
    return found or None
