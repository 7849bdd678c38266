"""One stream of audio: pure, complete, and only cut differently by batch size and ranks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data.batching import padded_seconds, split_into_micro_batches
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind, Segment
from asr.errors import UserError


def make_stream(
    seed: int = 1,
    start_hours: float | None = 0.01,
    ratio: tuple[int, int] = (1, 2),
    counts: tuple[int, int] = (30, 50),
    group_seconds: float = 10.0,
) -> AudioStream:
    random = np.random.default_rng(99)
    labelled, untranscribed = (
        GroupedCorpus(kind, random.uniform(1, 15, count), group_seconds, seed, (0.9, 1.0, 1.1))
        for kind, count in zip(Kind, counts, strict=True)
    )
    return AudioStream(labelled, untranscribed, ratio, start_hours, seed)


def draw(stream: AudioStream, groups: int, batches: int) -> list[tuple[Segment, ...]]:
    position, drawn = Position(), []
    for _ in range(batches):
        batch = stream.next_batch(position, groups)
        drawn.append(batch.segments)
        position = batch.after
    return drawn


@pytest.mark.parametrize("kappa", [2, 4, 8])
def test_a_large_batch_is_the_union_of_small_ones(kappa: int) -> None:
    small = draw(make_stream(), 3, 8 * 5)
    large = draw(make_stream(), 3 * kappa, 8 * 5 // kappa)
    for index, batch in enumerate(large):
        union = [s for part in small[index * kappa : (index + 1) * kappa] for s in part]
        assert list(batch) == union


def test_another_object_and_another_position_give_the_same_stream() -> None:
    whole = draw(make_stream(), 3, 60)
    position = Position()
    for number, batch in enumerate(whole):
        # A fresh object each time: nothing but the position carries over.
        again = make_stream().next_batch(position, 3)
        assert again.segments == batch, number
        position = again.after


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 5), st.floats(2, 40))
def test_every_pass_holds_every_utterance_once(count: int, pass_index: int, group: float) -> None:
    seconds = np.random.default_rng(count).uniform(0.5, 18, count)
    corpus = GroupedCorpus(Kind.LABELLED, seconds, group, seed=3)
    groups = [corpus.group(pass_index, i) for i in range(corpus.groups_in_pass(pass_index))]
    assert Counter(s.index for g in groups for s in g) == Counter(range(count))
    assert all(groups)


def test_passes_and_seeds_differ() -> None:
    first, second = (make_stream(seed=1).corpora[Kind.LABELLED] for _ in range(2))
    assert first is not None
    assert second is not None
    assert [s.index for s in first.group(0, 0)] == [s.index for s in second.group(0, 0)]
    order = [[s.index for i in range(5) for s in first.group(p, i)] for p in (0, 1)]
    assert order[0] != order[1]
    other = make_stream(seed=2)
    assert draw(make_stream(seed=1), 3, 5) != draw(other, 3, 5)


def test_the_interleaving_keeps_the_ratio_in_every_period() -> None:
    position, kinds = Position(), []
    stream = make_stream(start_hours=0.0, ratio=(1, 2))
    for _ in range(30):
        batch = stream.next_batch(position, 1)
        kinds.append(batch.segments[0].kind)
        position = batch.after
    for period in range(10):
        assert Counter(kinds[3 * period : 3 * period + 3])[Kind.LABELLED] == 1
    assert len({tuple(kinds[3 * p : 3 * p + 3]) for p in range(10)}) > 1, "never permuted"


def test_untranscribed_speech_begins_at_its_hour() -> None:
    position = Position()
    stream = make_stream(start_hours=0.05)
    while position.seconds < 0.05 * 3600:
        batch = stream.next_batch(position, 1)
        assert batch.segments[0].kind is Kind.LABELLED
        position = batch.after
    later = [s.kind for part in draw(stream, 3, 30) for s in part]
    assert Kind.UNTRANSCRIBED in later
    never = make_stream(start_hours=None)
    assert {s.kind for part in draw(never, 3, 30) for s in part} == {Kind.LABELLED}


segments = st.lists(
    st.builds(
        Segment,
        kind=st.sampled_from(Kind),
        index=st.integers(0, 10_000),
        pass_index=st.just(0),
        seconds=st.floats(0.5, 30),
        speed=st.sampled_from([0.9, 1.0, 1.1]),
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


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(UserError, match="no labelled utterances"):
        GroupedCorpus(Kind.LABELLED, [], 10.0, 1)
