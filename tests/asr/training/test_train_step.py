"""A batch that is cut for ranks and micro-batches has the same gradients."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    PLAIN,
    Train,
    asr_command,
    final,
    losses,
    read_lines,
    relative_distance,
    same_weights,
    without_wall_time,
)


def test_ranks_and_accumulation_only_cut_the_same_stream(train: Train) -> None:
    """With augmentation, dropout and LayerDrop, all of which belong to the utterance."""
    one = train("one")
    two = train("two", ranks=2)
    accumulated = train("accumulated", "batch.max_seconds_per_micro_batch=6")
    for other in (two, accumulated):
        assert losses(other) == pytest.approx(losses(one), rel=1e-4)
        assert read_lines(other / "utterances.jsonl") == read_lines(one / "utterances.jsonl")
        teachers = (final(run) / "teacher.safetensors" for run in (one, other))
        assert relative_distance(*teachers) < 1e-4
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


OTHER_CUTS = [(stage, ranks, "fp32") for stage in range(4) for ranks in (1, 2)]
OTHER_CUTS += [(stage, 1, "bf16") for stage in (1, 2)] + [(0, 1, "autocast")]
QUICK_CUTS = [(3, 2, "fp32")]


@pytest.mark.parametrize(
    ("stage", "ranks", "precision"),
    [
        *QUICK_CUTS,
        *(pytest.param(*c, marks=pytest.mark.slow) for c in OTHER_CUTS if c not in QUICK_CUTS),
    ],
)
def test_measuring_changes_no_gradient_and_finds_the_same_on_any_ranks_and_stage(
    train: Train, measured_run: Path, stage: int, ranks: int, precision: str
) -> None:
    cut = [f"trainer.zero_stage={stage}", f"trainer.precision={precision}"]
    run = train("run", *PLAIN, *MEASURED, *cut, ranks=ranks)
    low = precision != "fp32"
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


@pytest.mark.slow
def test_a_measured_run_that_was_killed_goes_on_exactly(train: Train, measured_run: Path) -> None:
    for hours in (0.017, 0.03):  # between two measurements
        run = train("resumed", *PLAIN, *MEASURED, f"trainer.total_hours={hours}")
    before, after = without_wall_time(measured_run), without_wall_time(run)
    assert [line for line in after if "loss" in line] == [line for line in before if "loss" in line]
    assert same_weights(*(final(r) / "teacher.safetensors" for r in (measured_run, run)))


@pytest.mark.slow
def test_labels_that_are_kept_are_made_before_a_measured_batch_trains_on_them(train: Train) -> None:
    cache = ["pseudo_label.schedule=cache", "pseudo_label.cache.capacity_utterances=10"]
    one, two = (train(f"{n}", *PLAIN, *MEASURED, *cache, ranks=n) for n in (1, 2))
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    found, expected = noise_lines(two)[-1], noise_lines(one)[-1]
    assert found["gradient_signal"] == pytest.approx(expected["gradient_signal"], rel=2e-3)
