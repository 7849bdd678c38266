"""Each method in whole runs: what its ledger shows, ranks, and resumes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    FLUENT,
    PLAIN,
    Train,
    asr_command,
    final,
    kill_after_lines,
    losses,
    relative_distance,
)

from asr.labels.ledger import read_ledger

CACHE = [
    "pseudo_label.schedule=cache",
    "pseudo_label.cache.capacity_utterances=8",
    "pseudo_label.cache.replacement_probability=0.5",
]
METHODS: dict[str, list[str]] = {
    "ema_scaled": [],
    "slimipl": ["pseudo_label.teacher=student", *CACHE],
    "from_the_start": [
        "pseudo_label.teacher=student",
        *CACHE,
        "pseudo_label.cache.change_for_replacement=0.2",
        "pseudo_label.decision=sample",
        "pseudo_label.sample.anneal_hours=0.02",
    ],
    "topipl": [
        "pseudo_label.teacher=average_of_best",
        "pseudo_label.best_checkpoints=2",
        "pseudo_label.schedule=rounds",
        "pseudo_label.rounds.every_hours=0.01",
        "pseudo_label.rounds.share=0.5",
        "trainer.evaluation_every_hours=0.008",
    ],
    "frozen": ["pseudo_label.teacher=frozen"],
    "rollback": ["pseudo_label.health.action=rollback", "pseudo_label.health.snapshot_hours=0.005"],
    "oracle": ["pseudo_label.decision=oracle"],
}


@pytest.fixture
def forked(fluent: Path) -> list[str]:
    """Settings of a run that pseudo-labels with a network that reads the tones."""
    return [
        *PLAIN,
        *FLUENT,
        f"fork_from={final(fluent)}",
        "augmentation.spec_augment.time_masks=2",
        "pseudo_label.start_hours=0.12",
        "trainer.total_hours=0.15",
        "trainer.checkpoint_every_hours=0.01",
    ]


def ledger(run: Path, name: str = "labels") -> list[dict[str, Any]]:
    return read_ledger(run, name).to_pylist()


def like(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows but for the last bits of numbers, which differ with the order of summation."""
    return [
        {k: pytest.approx(v, abs=2e-3) if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    ]


@pytest.mark.parametrize("method", METHODS)
def test_ranks_and_resumes_change_nothing(
    method: str, train: Train, recipe: Path, tmp_path: Path, forked: list[str]
) -> None:
    settings = [*forked, *METHODS[method]]
    whole = train("whole", *settings)
    two = train("two", *settings, ranks=2)
    assert losses(two) == pytest.approx(losses(whole), rel=1e-3)
    for name in ("labels", "uses"):
        assert ledger(two, name) == like(ledger(whole, name))
    assert relative_distance(*(final(r) / "teacher.safetensors" for r in (whole, two))) < 1e-4

    killed = tmp_path / "killed"
    command = ["train", str(recipe), f"output={killed}", *settings]
    kill_after_lines([*asr_command(), *command], killed, len(losses(whole)) - 8)
    # On with two ranks, then with one again.
    stop = [*asr_command(2), *command, "trainer.total_hours=0.145"]
    subprocess.run(stop, check=True, capture_output=True)
    subprocess.run([*asr_command(), *command], check=True, capture_output=True)
    for name in ("labels", "uses"):
        assert ledger(killed, name) == like(ledger(whole, name))
    assert losses(killed) == pytest.approx(losses(whole), rel=1e-3)
