"""`asr check` of a recipe, and what it printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.__main__ import main

SOUND = ["pseudo_label.health.max_broken_share=1"]


def check(capsys: pytest.CaptureFixture[str], recipe: Path, *settings: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["check", str(recipe), *SOUND, *settings])
    return status, capsys.readouterr().out
