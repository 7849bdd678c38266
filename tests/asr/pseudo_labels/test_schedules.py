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
    read_lines,
    relative_distance,
)

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


_QUICK = ("from_the_start", "topipl")
"""Between them, a cache, samples, rounds and weights of their own."""


@pytest.mark.parametrize(
    "method",
    [m if m in _QUICK else pytest.param(m, marks=pytest.mark.slow) for m in METHODS],
)
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


def test_the_ledger_shows_each_mechanism(train: Train, forked: list[str]) -> None:
    """One run after the other, of the same beginning."""
    longer = [*forked, "trainer.total_hours=0.18"]
    online = train("online", *longer)
    labels = ledger(online)
    assert {row["pass"] for row in labels} >= {0, 1}, "an utterance is labelled in each pass"
    assert [row["batch"] for row in labels] == sorted(row["batch"] for row in labels)
    updates = [r for r in read_lines(online / "metrics.jsonl") if "loss" in r]
    assert len(labels) == sum(
        len(line["untranscribed"]) for line in read_lines(online / "utterances.jsonl")
    )
    assert ledger(online, "uses") == []
    again = [row for row in labels if row["change"] is not None]
    assert again
    assert len({row["utterance"] for row in labels}) == len(labels) - len(again)
    assert updates[-1]["pseudo_label_cer"] is not None

    cached = train("cached", *longer, *METHODS["slimipl"], "pseudo_label.teacher=ema")
    labels, uses = ledger(cached), ledger(cached, "uses")
    assert len(uses) > len(labels), "a label is used more than once"
    assert all(use["age_hours"] >= 0 for use in uses)
    made = {(row["utterance"], row["pass"]): row["hours"] for row in labels}
    assert all(
        use["hours"] - use["age_hours"] == pytest.approx(made[use["utterance"], use["pass"]])
        for use in uses
    )

    rounds = ["pseudo_label.schedule=rounds", "pseudo_label.rounds.every_hours=0.03"]
    labels = ledger(train("rounds", *longer, *rounds, "pseudo_label.rounds.share=0.25"))
    batches = sorted({row["batch"] for row in labels})
    assert [sum(row["batch"] == batch for row in labels) for batch in batches] == [40, 10]

    frozen = ledger(train("frozen", *longer, "pseudo_label.teacher=frozen"))
    assert all(row["change"] in (None, 0) for row in frozen), "the same weights, the same labels"
    ages = [row["teacher_age_hours"] for row in frozen]
    assert ages == sorted(ages)
    assert ages[-1] > 0.05


def rounds_of(run: Path) -> list[tuple[int, int]]:
    """(batch, labels) of each round."""
    batches = [row["batch"] for row in ledger(run)]
    return [(batch, batches.count(batch)) for batch in sorted(set(batches))]


def test_the_first_round_comes_with_the_first_untranscribed_speech(
    train: Train, fluent: Path
) -> None:
    """Of a batch of several groups that begins before `start_hours`, and of a fork that begins long after."""
    rounds = ["pseudo_label.schedule=rounds", "pseudo_label.rounds.every_hours=0.02"]
    inside = train("inside", *PLAIN, *rounds, "pseudo_label.start_hours=0.017")
    found = rounds_of(inside)
    assert [labels for _, labels in found] == [40, 40]
    first = read_lines(inside / "utterances.jsonl")[found[0][0] - 1]
    assert first["labelled"]
    assert first["untranscribed"], "no batch begins at its very start"

    late = [f"fork_from={final(fluent)}", "pseudo_label.start_hours=0.05", *FLUENT]
    run = train("late", *PLAIN, *rounds, *late, "trainer.total_hours=0.15")
    assert [labels for _, labels in rounds_of(run)] == [40, 40]


@pytest.mark.slow
def test_another_method_takes_over_a_run(train: Train, forked: list[str]) -> None:
    """Which saves before its first label, and goes on."""
    train("run", *forked, *METHODS["slimipl"])
    other = ["pseudo_label.teacher=frozen", "pseudo_label.health.action=rollback"]
    ratio = "pseudo_label.labelled_to_untranscribed=[30,1]"
    longer = [*forked, *CACHE, *other, ratio, "trainer.total_hours=0.165"]
    train("run", *longer)
    run = train("run", *longer, "trainer.total_hours=0.24")
    hours = [use["hours"] for use in ledger(run, "uses")]
    assert max(hours) > 0.165
    frozen = [row for row in ledger(run) if row["hours"] > 0.155]
    assert all(row["teacher_age_hours"] >= 0 for row in frozen)
