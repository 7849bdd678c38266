"""Labels of all ranks: averages, former labels, the ledger and the alarm are as those of one rank."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_helpers import row
from pyarrow import parquet

from asr.config.pseudo_label import HealthConfig
from asr.distributed.process_group import Ranks
from asr.pseudo_labels.health import LabelHealth
from asr.pseudo_labels.label_counts import ALARMING, LabelCounts, Observations
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.records import LabelUseRecord
from asr.pseudo_labels.recovery import Recovery
from asr.pseudo_labels.sharing.former import FormerLabels
from asr.pseudo_labels.sharing.smoothing import Smoothed
from asr.pseudo_labels.store import KeptLabel, LabelStore


@pytest.mark.parametrize("passed", [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
def test_averages_are_those_of_one_label_after_the_other_to_the_last_bit(
    passed: list[float],
) -> None:
    random = np.random.default_rng(0)
    before_F = random.random(4) * [1, 1, 0, 1]
    passed_R = np.array(passed * 500)
    new_FR = random.random((4, len(passed_R))) * (passed_R != 0) * [[1], [1], [0], [1]]
    found = Smoothed.of(before_F, new_FR, passed_R, 12.0)
    value_F = before_F
    for place, count in enumerate(passed_R.tolist()):
        value_F = 0.5 ** (count / 12.0) * value_F + new_FR[:, place]
        assert [found.column(n)[place] for n in range(0, 4, 3)] == [value_F[0], value_F[3]]
    assert (found.until(len(passed_R)) == value_F).all()
    assert (found.until(0) == before_F).all()


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 30), st.lists(st.integers(1, 9), max_size=4), st.booleans()),
            max_size=8,
        )
    )
)
def test_former_labels_are_a_dictionary(
    batches: list[list[tuple[int, list[int], bool]]],
) -> None:
    """Of those of a batch that are labels; the others' tokens lie between theirs."""
    former, expected = FormerLabels(), dict[int, bytes]()
    for batch in batches:
        tokens = np.array([t for _, label, _ in batch for t in label], np.int32)
        is_label = np.array([one for *_, one in batch], bool)
        utterances = np.array([n for n, *_ in batch], np.int64)[is_label]
        lengths = np.array([len(label) for _, label, _ in batch], np.int64)
        former.put(utterances, tokens, np.cumsum(lengths)[is_label], lengths[is_label])
        expected |= {n: np.array(label, np.int32).tobytes() for n, label, is_in in batch if is_in}
    assert list(former.items()) == list(expected.items())
    assert len(former) == len(expected)
    assert former.get(31) is None


class Gathering:
    """Ranks that are threads, as far as a ledger needs them."""

    def __init__(self, world: int) -> None:
        self.world, self.barrier = world, threading.Barrier(world, timeout=60)
        self.items: list[Any] = [None] * world

    def rank(self, number: int) -> Ranks:
        peers = self

        class Rank(Ranks):
            def collect(self, item: Any) -> list[Any]:
                peers.items[number] = item
                peers.barrier.wait()
                found = list(peers.items) if number == 0 else []
                peers.barrier.wait()
                return found

        return Rank(number, self.world, torch.device("cpu"))


def test_the_file_of_several_ranks_is_that_of_one(tmp_path: Path) -> None:
    reasons = [None, "empty", None, "too_long"]
    labels = [
        replace(row(f"u{n}", "ab" * n, 1.0, dropped=reasons[n % 4]), place=n, key=(0, 50 - n))
        for n in range(12)
    ]
    uses = [LabelUseRecord((0, 50 - n), f"u{n}", 1, 0.5, reasons[n % 3]) for n in range(12)]

    def write(folder: Path, ranks: Ranks | None, share: slice) -> None:
        ledger = LabelLedger(folder, 0, ranks)
        for batch in (1, 2):
            ledger.note_labels(batch, labels[share], len(labels))
            ledger.note_uses(batch, float(batch), uses[share], len(uses))
        ledger.write(2)

    write(tmp_path / "one", None, slice(None))
    peers = Gathering(3)
    threads = [
        threading.Thread(target=write, args=(tmp_path / "three", peers.rank(n), slice(n, None, 3)))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("labels", "uses"):
        [one], [three] = (
            list((tmp_path / run / "pseudo_labels" / name).glob("000000001-000000002.*.parquet"))
            for run in ("one", "three")
        )
        whole, shared = parquet.read_table(one), parquet.read_table(three)
        assert shared.to_pylist() == whole.to_pylist()
        assert shared.schema == whole.schema
        assert len(whole) == 24


class Average:
    """That can be put back, and never is NaN."""

    kept = 1

    def __init__(self) -> None:
        self.done: list[str] = []

    @property
    def labelling(self) -> Average:
        return self

    def is_finite(self) -> bool:
        return True

    def keep(self) -> None:
        self.done.append("kept")

    def roll_back(self) -> None:
        self.done.append("rolled back")

    def reset_to_student(self) -> None:
        self.done.append("reset")


class OneByOne(Recovery):
    """The reference: after each label and each use it is asked what there is to do."""

    def watch(
        self,
        observed: Observations,
        hours: float,
        health: LabelHealth,
        store: LabelStore,
        rate: float,
    ) -> list[str]:
        said: list[str] = []
        self._has_moved_weights = self._has_warned = False
        for number, counts_F in enumerate(observed.counts_FR.T):
            counts = LabelCounts(*counts_F.tolist())
            if self.is_paused and counts.uses and not counts.labels:
                continue
            health.observe(counts)
            if not self._has_moved_weights:
                rest = range(number + 1, len(observed))
                later = {observed.made(n) for n in rest}
                faults = health.faults(self.policy, rate)
                act = partial(self._invalidate, store, lambda later=later: later)
                said += self._respond(faults, hours, health, act)
            self._leave_out(observed, number, number + 1, store)
        if self._has_moved_weights:
            health.forget_recent()
        elif not said:
            self._keep_if_due(hours, health)
        return said


def assert_equal_health(one: LabelHealth, other: LabelHealth) -> None:
    """To the last bit in what the alarm listens to; to rounding in what is shown."""
    assert (one.is_ill, one.labels) == (other.is_ill, other.labels)
    for name in ALARMING:
        assert getattr(one.recent, name) == getattr(other.recent, name), name
    np.testing.assert_allclose(one.recent.row(), other.recent.row(), rtol=1e-12)
    np.testing.assert_allclose(one.shown.row(), other.shown.row(), rtol=1e-12)


@pytest.mark.parametrize("action", ["warn", "pause", "rollback"])
@pytest.mark.parametrize("is_cached", [False, True])
def test_labels_that_are_judged_together_are_judged_as_one_by_one(
    action: str, is_cached: bool
) -> None:
    """Sound and broken ones in turns, over many batches: lines, state and what is left out are the same."""
    policy = HealthConfig(action=action, grace_hours=2.0)  # type: ignore[arg-type]
    kinds = [
        LabelCounts(labels=1, tokens=10, seconds=1, heard=1),
        LabelCounts(labels=1, empty=1, broken=1, seconds=1, heard=1),
        LabelCounts(without_speech=1),
        LabelCounts(disagreements=1, agreed_on=10, uses=1),
        LabelCounts(disagreements=9, agreed_on=10, uses=1),
        LabelCounts(),
    ]
    random = np.random.default_rng(3)
    runs, heard = [], list[str]()
    for kind in (Recovery, OneByOne):
        average, health, store = Average(), LabelHealth(), LabelStore()
        states = average if action == "rollback" else None
        recovery = kind(policy, average, states, 20.0, is_cached)  # type: ignore[arg-type]
        recovery.begin(0.0)
        runs.append((recovery, health, store, average))
    for hours in range(30):
        shares = [0.9, 0.02, 0.02, 0.05, 0.0, 0.01] if hours % 5 else [0.3, 0.4, 0.1, 0.1, 0.1, 0.0]
        drawn = random.choice(len(kinds), 200, p=shares).tolist()
        keys = [(hours, n) if kinds[kind].labels else None for n, kind in enumerate(drawn)]
        observed = Observations.of([(kinds[k], key) for k, key in zip(drawn, keys, strict=True)])
        for _, _, store, _ in runs:
            store.kept |= {key: KeptLabel(b"", float(hours), None) for key in keys if key}
        said = [
            recovery.watch(observed, float(hours), health, store, 10.0)
            for recovery, health, store, _ in runs
        ]
        heard += said[0]
        assert said[0] == said[1]
        assert_equal_health(runs[0][1], runs[1][1])
        assert runs[0][0].state() == runs[1][0].state()
        assert runs[0][2] == runs[1][2]
    assert runs[0][3].done == runs[1][3].done
    assert any("unhealthy" in line for line in heard)
    assert action == "warn" or any(one.dropped for one in runs[0][2].kept.values())
