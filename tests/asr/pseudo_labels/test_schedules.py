"""When labels are made, as whole runs show it in their ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import FLUENT, PLAIN, Train, final, read_lines
from method_helpers import METHODS, ledger

from asr.config.recipe import parse_config
from asr.pseudo_labels import RoundsSchedule


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


@pytest.mark.slow
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


def rounds_schedule(every_hours: float) -> RoundsSchedule:
    rounds = {"start_hours": 16, "schedule": "rounds", "rounds": {"every_hours": every_hours}}
    tree = {"corpus": {"untranscribed": ["some"]}, "tokenizer": {"characters": "abc"}}
    return RoundsSchedule(parse_config({**tree, "pseudo_label": rounds}, "test"))


def times_of_rounds(
    schedule: RoundsSchedule, begin: float, batch: float, end: float
) -> list[float]:
    """When there are rounds, where batches of so many hours begin."""
    found, hours = [], begin
    while hours < end:
        if schedule.is_round_due(hours):
            schedule.round_done(hours)
            found.append(hours)
        hours += batch
    return found


def test_rounds_every_ten_hours_are_ten_hours_apart_at_batches_of_three() -> None:
    """Counted from the round before, they were twelve hours apart."""
    found = times_of_rounds(rounds_schedule(10), 16, 3, 16 + 120)
    assert found == [16, 28, 37, 46, 58, 67, 76, 88, 97, 106, 118, 127]
    assert (found[9] - found[0]) / 9 == 10
    short = times_of_rounds(rounds_schedule(10), 16, 0.5, 16 + 120)
    assert short == [16 + 10 * n for n in range(12)]
    assert times_of_rounds(rounds_schedule(1), 16, 3, 40) == [16 + 3 * n for n in range(8)]


def test_rounds_of_a_pause_come_sooner_and_then_in_their_old_places() -> None:
    schedule = rounds_schedule(10)
    assert times_of_rounds(schedule, 16, 0.5, 20) == [16]
    schedule.is_urgent = True
    assert times_of_rounds(schedule, 20, 0.5, 23) == [20, 21, 22]
    schedule.is_urgent = False
    assert times_of_rounds(schedule, 23, 0.5, 40) == [26, 36]
    schedule.on_teacher_rollback()
    assert times_of_rounds(schedule, 40, 0.5, 60) == [40, 46, 56]


def test_rounds_of_an_older_checkpoint_are_counted_from_its_last_one() -> None:
    schedule = rounds_schedule(10)
    schedule.load({"rounds_done": 3, "last_round_hours": 28.0})
    assert times_of_rounds(schedule, 31, 3, 70) == [40, 49, 58]
    resumed = rounds_schedule(10)
    resumed.load(schedule.state())
    assert resumed.state() == schedule.state()
