"""When labels are made, as whole runs show it in their ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import FLUENT, PLAIN, Train, final, read_lines
from method_helpers import METHODS, ledger


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
