"""The benchmarks of tools/ run: what is measured seldom would else stop with the code that it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def printed(tool: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / f"tools/{tool}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("schedule", ["online", pytest.param("cache", marks=pytest.mark.slow)])
def test_what_an_update_costs_beside_many_ranks(schedule: str) -> None:
    few = ("--ranks", "4", "--updates", "1", "--work-seconds", "0", "--schedule", schedule)
    heads, values = map(str.split, printed("bench_scale", *few).splitlines())
    found = dict(zip(heads, map(float, (one.replace(",", "") for one in values)), strict=False))
    assert found["ranks"] == 4
    assert found["utterances"] > 50
    assert 0 < found["least"] <= found["both"] <= found["worst"] < 1000


@pytest.mark.slow
def test_how_long_a_corpus_takes_to_open() -> None:
    lines = printed("bench_data", "--utterances", "300").splitlines()
    assert [line.split()[0] for line in lines] == ["index", "open", "plan"]


@pytest.mark.slow
def test_what_a_checkpoint_costs() -> None:
    recipe = str(ROOT / "recipes/festvox_ru/supervised.yaml")
    said = printed("bench_checkpoints", "--recipe", recipe)
    assert said.count("waits") == 3
    assert "read" in said


@pytest.mark.slow
def test_a_store_beside_local_shards() -> None:
    assert "ratio" in printed("bench_store", "--updates", "14", "--rounds", "1")
