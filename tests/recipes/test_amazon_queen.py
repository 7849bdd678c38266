"""recipes/amazon_queen: its students differ in what they hear, and in nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from asr.config.recipe import load_config

RECIPES = Path(__file__).parents[2] / "recipes/amazon_queen"
DIFFER = {"name", "output", "corpus", "pseudo_label"}


def recipe(name: str) -> dict[str, Any]:
    return load_config(RECIPES / f"{name}.yaml").model_dump()


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ("no_transcripts", ["transcripts", "transcripts_and_labels", "oracle"]),
        ("ctc_transcripts", ["ctc_labels"]),
    ],
)
def test_students_that_are_compared_train_alike(first: str, others: list[str]) -> None:
    one = recipe(first)
    for name in others:
        other = recipe(name)
        assert {key for key in one if one[key] != other[key]} <= DIFFER
        assert other["corpus"]["dev"] == one["corpus"]["dev"]
        assert other["output"] != one["output"]


def test_no_transcript_is_read_without_transcripts() -> None:
    assert load_config(RECIPES / "no_transcripts.yaml").has_no_transcripts


@pytest.mark.parametrize("script", sorted(path.name for path in RECIPES.glob("*.sh")))
def test_the_scripts_say_how_they_are_used(script: str) -> None:
    said = subprocess.run(
        ["bash", RECIPES / script, "--help"], check=True, capture_output=True, text=True
    )
    assert f"recipes/amazon_queen/{script} [" in said.stdout
    wrong = subprocess.run(
        ["bash", RECIPES / script, "--fast"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "--fast" in wrong.stderr
