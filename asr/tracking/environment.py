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
