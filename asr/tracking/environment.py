"""Versions and machine of a run."""

from __future__ import annotations

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
        "commit": _commit(),
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


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return answer.stdout.strip() or "unknown"
