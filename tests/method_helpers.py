"""Settings of each pseudo-labelling method, and the ledger of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asr.pseudo_labels.ledger import read_ledger

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


def ledger(run: Path, name: str = "labels") -> list[dict[str, Any]]:
    return read_ledger(run, name).to_pylist()
