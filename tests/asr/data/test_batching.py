"""A batch that is dealt out loses nothing and fits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_paths import LIBRISPEECH
from stream_helpers import stream

from asr.config.recipe import load_config
from asr.data.batching import (
    deal_into_parts,
    padded_seconds,
    part_numbers,
    split_into_micro_batches,
)
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind, Segment


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
        assert len({s.is_trained for cut in slot for s in cut}) == 1
        for cut in slot:
            assert len({numbers.get(s) for s in cut}) <= 1
            assert padded_seconds(cut) <= 60.0 * (1 + 1e-6)
    order = [all(s.is_trained for cut in slot for s in cut) for slot in slots]
    assert order == sorted(order)


QUANTILES = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0]
SECONDS = [1.4, 3.0, 4.5, 8.0, 11.3, 12.9, 13.9, 14.6, 15.1, 15.5, 16.0, 16.6, 24.5]
"""Of LibriSpeech's training speech, roughly: half of it between 13 and 16 s, few above."""


@pytest.mark.parametrize("start_hours", [None, 0.0])
def test_a_rank_s_share_of_a_batch_is_one_pass(start_hours: float | None) -> None:
    """8 x 290 s of the recipe for LibriSpeech, transcribed speech alone and 1 : 4 with labels."""
    config = load_config(LIBRISPEECH)
    limit, ranks, random = config.batch.max_seconds_per_micro_batch, 8, np.random.default_rng(0)
    corpora = [
        GroupedCorpus(kind, lengths, config.group_seconds, 1, (0.9, 1.0, 1.1))
        for kind in Kind
        for lengths in [np.interp(random.random(20_000), QUANTILES, SECONDS)]
    ]
    stream = AudioStream(*corpora, (1, 4), start_hours, 1)
    position, slots, cuts, played = Position(), [], [], 0.0
    for _ in range(20):
        batch = stream.next_batch(position, config.groups_per_batch(ranks * 290.0))
        dealt = split_into_micro_batches(batch.segments, ranks, limit)
        slots.append(len(dealt))
        cuts += [padded_seconds(cut) for slot in dealt for cut in slot]
        played += sum(segment.augmented_seconds for segment in batch.segments)
        position = batch.after
    assert np.mean(slots) <= 1.1
    assert 1.0 - played / sum(cuts) < 0.06
