"""The cache's turns: uses and ages of labels, whatever the batches; and how it follows change."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config.pseudo_label import CacheConfig
from asr.data.batching import split_into_micro_batches
from asr.data.cache_sampler import CachePlan
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind, Segment
from asr.errors import UserError
from asr.pseudo_labels.cache_policy import CachePolicy
from asr.pseudo_labels.health import LabelCounts


def stream(capacity: int, probability: float, utterances: int = 400) -> AudioStream:
    seconds = np.random.default_rng(0).uniform(2.0, 12.0, utterances)
    labelled, untranscribed = (
        GroupedCorpus(kind, seconds, 30.0, 1, (0.9, 1.0, 1.1)) for kind in Kind
    )
    cache = CachePlan(untranscribed, capacity, lambda _: probability, seed=1)
    return AudioStream(labelled, untranscribed, (1, 1), 0.0, 1, cache)


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


def test_what_is_only_labelled_comes_first_in_slots_of_its_own() -> None:
    batch = stream(40, 1.0).next_batch(Position(), 60)
    slots = split_into_micro_batches(batch.segments, 2, 60.0)
    flags = [{s.is_trained for part in slot for s in part} for slot in slots]
    assert all(len(flag) == 1 for flag in flags)
    order = [flag.pop() for flag in flags]
    assert order == sorted(order)
    assert not order[0]
    assert order[-1]


def changed(share: float) -> LabelCounts:
    return LabelCounts(changed=10 * share, compared=10)


def test_the_probability_follows_the_change_of_labels() -> None:
    replacement = CachePolicy(CacheConfig(replacement_probability=0.1, change_for_replacement=0.4))
    assert replacement.probability(0) == replacement.probability(1) == 1.0
    with pytest.raises(UserError, match="enlarge it"):
        replacement.probability(2)
    for cache_pass, share, expected in ((1, 0.9, 1.0), (2, 0.2, 0.5), (3, 0.01, 0.1)):
        replacement.passed(cache_pass, changed(share))
        replacement.passed(cache_pass, changed(0.5))  # later in the same pass: decided already
        assert replacement.probability(cache_pass + 1) == pytest.approx(expected)
    resumed = CachePolicy(replacement.policy)
    resumed.load(replacement.state())
    assert resumed.probability(4) == 0.1
    constant = CachePolicy(CacheConfig(replacement_probability=0.3))
    assert constant.probability(17) == 0.3
