"""A batch that is dealt out loses nothing and fits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_helpers import stream

from asr.data.batching import (
    deal_into_parts,
    padded_seconds,
    part_numbers,
    split_into_micro_batches,
)
from asr.data.sampler import Position
from asr.data.segments import Kind, Segment


def test_what_is_only_labelled_comes_first_in_slots_of_its_own() -> None:
    batch = stream(40, 1.0).next_batch(Position(), 60)
    slots = split_into_micro_batches(batch.segments, 2, 60.0)
    flags = [{s.is_trained for part in slot for s in part} for slot in slots]
    assert all(len(flag) == 1 for flag in flags)
    order = [flag.pop() for flag in flags]
    assert order == sorted(order)
    assert not order[0]
    assert order[-1]


segments = st.lists(
    st.builds(
        Segment,
        kind=st.sampled_from(Kind),
        index=st.integers(0, 10_000),
        pass_index=st.just(0),
        seconds=st.floats(0.5, 30),
        speed=st.sampled_from([0.9, 1.0, 1.1]),
        is_trained=st.just(True),
        use=st.just(0),
        is_last_use=st.just(False),
    ),
    min_size=1,
    max_size=60,
)


@given(segments, st.integers(1, 8), st.floats(5, 300))
def test_dealing_loses_nothing_and_respects_the_limit(
    batch: list[Segment], ranks: int, limit: float
) -> None:
    slots = split_into_micro_batches(batch, ranks, limit)
    dealt = [s for slot in slots for part in slot for s in part]
    assert Counter(dealt) == Counter(batch)
    for slot in slots:
        assert len(slot) == ranks
        assert len({s.kind for part in slot for s in part}) == 1
        for part in slot:
            assert padded_seconds(part) <= limit * (1 + 1e-6) or len(part) == 1


def test_dealt_costs_are_balanced_and_little_padded() -> None:
    random = np.random.default_rng(0)
    batch = [
        Segment(Kind.LABELLED, i, 0, s) for i, s in enumerate(random.uniform(2, 17, 300).tolist())
    ]
    slots = split_into_micro_batches(batch, 8, 290.0)
    costs = [padded_seconds(part) for slot in slots for part in slot]
    assert min(costs) > 0.8 * max(costs)
    assert sum(s.seconds for s in batch) > 0.9 * sum(costs)


@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_a_measured_batch_is_the_same_audio_in_micro_batches_of_one_part_each(ranks: int) -> None:
    batch = stream(40, 1.0).next_batch(Position(), 12)
    parts = deal_into_parts(batch.groups)
    numbers = part_numbers(parts)
    trained = [s for s in batch.segments if s.is_trained]
    assert set(numbers) == set(trained)
    assert sum(part.seconds for part in parts) == pytest.approx(batch.seconds)
    slots = split_into_micro_batches(batch.segments, ranks, 60.0, numbers)
    assert Counter(s for slot in slots for cut in slot for s in cut) == Counter(batch.segments)
    for slot in slots:
        assert len(slot) == ranks
        assert len({(s.kind, s.is_trained) for cut in slot for s in cut}) == 1
        for cut in slot:
            assert len({numbers.get(s) for s in cut}) <= 1
            assert padded_seconds(cut) <= 60.0 * (1 + 1e-6)
    order = [all(s.is_trained for cut in slot for s in cut) for slot in slots]
    assert order == sorted(order)
