"""The cache's turns: uses and ages of labels, whatever the batches."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_helpers import stream

from asr.data.sampler import AudioStream, Position
from asr.data.segments import Kind, Segment


def drawn(source: AudioStream, batches: int, groups: int = 1) -> list[list[Segment]]:
    position, found = Position(), []
    for _ in range(batches):
        batch = source.next_batch(position, groups)
        found.append([s for s in batch.segments if s.kind is Kind.UNTRANSCRIBED])
        position = batch.after
    return found


def test_labels_are_used_one_over_p_times_at_an_age_of_capacity_over_p() -> None:
    probability, capacity = 0.2, 60
    turns = [turn for turn in drawn(stream(capacity, probability), 6000) if turn]
    made: dict[tuple[int, int], int] = {}
    uses: dict[tuple[int, int], int] = {}
    ages, done = [], []
    for number, turn in enumerate(turns):
        for segment in turn:
            key = (segment.pass_index, segment.index)
            if not segment.is_trained:
                assert key not in made, "a draw is labelled once"
                made[key] = number
                continue
            uses[key] = uses.get(key, 0) + 1
            assert segment.use == uses[key]
            ages.append(number - made[key])
            if segment.is_last_use:
                done.append(uses[key])
    after = stream(capacity, probability).next_batch(Position(), 100).after
    assert after.cache is not None
    groups = after.cache.slots.count
    assert np.mean(done) == pytest.approx(1 / probability, rel=0.1)
    # The mean age at a use: uses come once a pass of the cache, and the k-th of a label has probability
    # (1 - p)^(k - 1), so k is 1 / p on average.
    assert np.mean(ages) == pytest.approx(groups / probability, rel=0.15)


def test_until_it_is_full_nothing_is_trained_on_and_the_clock_stands() -> None:
    batches = drawn(stream(60, 0.2), 60)
    turns = [turn for turn in batches if turn]
    filled = 0
    for turn in turns:
        if filled >= 60:
            break
        assert not any(segment.is_trained for segment in turn)
        filled += len(turn)
    source = stream(60, 0.2)
    first = source.next_batch(Position(), 3)
    trained = [segment for segment in first.segments if segment.is_trained]
    assert first.seconds == pytest.approx(sum(segment.seconds for segment in trained))
    assert {segment.kind for segment in trained} == {Kind.LABELLED}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(0, 30))
def test_the_turns_are_the_same_whatever_the_batches_and_across_a_resume(
    groups: int, stop: int
) -> None:
    one = [s for turn in drawn(stream(40, 0.3), 40 * groups) for s in turn]
    source, position = stream(40, 0.3), Position()
    several: list[Segment] = []
    for number in range(40):
        if number == stop:
            source, position = stream(40, 0.3), Position.from_state(asdict(position))
        batch = source.next_batch(position, groups)
        several += [s for s in batch.segments if s.kind is Kind.UNTRANSCRIBED]
        position = batch.after
    assert several == one
