"""A batch that is cut for ranks and micro-batches has the same gradients."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import PLAIN, Train, asr_command, final, losses, read_lines, relative_distance


def test_ranks_and_accumulation_only_cut_the_same_stream(train: Train) -> None:
    one = train("one", *PLAIN)
    two = train("two", *PLAIN, ranks=2)
    accumulated = train("accumulated", *PLAIN, "batch.max_seconds_per_micro_batch=6")
    for other in (two, accumulated):
        assert losses(other) == pytest.approx(losses(one), rel=1e-4)
        assert read_lines(other / "utterances.jsonl") == read_lines(one / "utterances.jsonl")
        teachers = (final(run) / "teacher.safetensors" for run in (one, other))
        assert relative_distance(*teachers) < 1e-5
    labels = [line["untranscribed"] for line in read_lines(one / "utterances.jsonl")]
    assert any(labels), "the run never pseudo-labelled"


def noise_lines(run: Path) -> list[dict[str, Any]]:
    """Of updates, from the first on which the noise scale was measured."""
    lines = read_lines(run / "metrics.jsonl")
    return [line for line in lines if line.get("gradient_signal") is not None]


MEASURED = [
    "trainer.noise_scale_every_batches=2",
    "trainer.total_hours=0.03",
    "batch.group_seconds=3.75",
]
"""Seven updates, of which the third, fifth and seventh are measured, the last ones with both kinds."""


@pytest.fixture(scope="module")
def measured_run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On one rank at stage 0. Read only."""
    run = tmp_path_factory.mktemp("measured") / "run"
    command = [*asr_command(), "train", str(recipe), f"output={run}", *PLAIN, *MEASURED]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return run


@pytest.mark.parametrize(
XX
)
def test_measuring_changes_no_gradient_and_finds_the_same_on_any_ranks_and_stage(
    train: Train, measured_run: Path, stage: int, ranks: int, precision: str
) -> None:
    cut = [f"trainer.zero_stage={stage}", f"trainer.precision={precision}"]
    run = train("run", *PLAIN, *MEASURED, *cut, ranks=ranks)
    low = precision == "bf16"
    assert losses(run) == pytest.approx(losses(measured_run), rel=5e-2 if low else 1e-4)
    pairs = list(zip(noise_lines(run), noise_lines(measured_run), strict=True))
    assert pairs
    for found, expected in pairs:
        for name in ("gradient_signal", "gradient_noise_seconds"):
            assert found[name] == pytest.approx(expected[name], rel=0.2 if low else 2e-3)
    first = pairs[0][0]
    whole = first["gradient_signal"] + first["gradient_noise_seconds"] / first["batch_seconds"]
    # The parts make up the gradient that the engine steps with.
    assert whole == pytest.approx(first["gradient_norm"] ** 2, rel=2e-2 if low else 1e-3)
