"""One stream of audio, only cut differently by batch size."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pytest
from stream_helpers import draw, make_stream

from asr.data.sampler import AudioStream, Position
from asr.data.segments import Kind


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


def waiting(start_hours: float = 0.05) -> AudioStream:
    plain = make_stream(start_hours=start_hours)
    labelled, untranscribed = (plain.corpora[kind] for kind in Kind)
    assert labelled is not None
    return AudioStream(labelled, untranscribed, plain.ratio, start_hours, 1, waits=True)


def test_a_stream_that_waits_opens_where_it_is_told() -> None:
    stream, position = waiting(), Position()
    for _ in range(100):  # far beyond its hour
        batch = stream.next_batch(position, 3)
        assert {s.kind for s in batch.segments} == {Kind.LABELLED}
        position = batch.after
    told = stream.told(position, may_open=True)
    # A function of (corpus, where it opened) alone: as one that opens there by its hours.
    fixed = make_stream(start_hours=position.seconds / 3600)
    by_hours = position
    for _ in range(20):
        batch, same = stream.next_batch(told, 3), fixed.next_batch(by_hours, 3)
        assert batch.segments == same.segments
        told, by_hours = batch.after, same.after
    assert told.interleaved_groups > 0
    assert stream.told(told, may_open=False) == told, "what has begun goes on"
    assert Position.from_state(asdict(told)) == told


def test_told_early_it_opens_at_its_hour_whatever_the_batches() -> None:
    stream = waiting()
    told = stream.told(Position(), may_open=True)
    assert stream.told(told, may_open=False) == Position(), "a change of mind before its hour"
    expected = draw(make_stream(start_hours=0.05), 1, 60)
    for groups in (1, 4):
        position, drawn = told, []
        for _ in range(60 // groups):
            batch = stream.next_batch(position, groups)
            drawn += batch.groups
            position = batch.after
        assert drawn == expected
