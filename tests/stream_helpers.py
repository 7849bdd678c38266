"""Streams over invented corpora, and batches drawn from them."""

from __future__ import annotations

import numpy as np

from asr.data.cache_sampler import CachePlan
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind, Segment


def stream(capacity: int, probability: float, utterances: int = 400) -> AudioStream:
    seconds = np.random.default_rng(0).uniform(2.0, 12.0, utterances)
    labelled, untranscribed = (
        GroupedCorpus(kind, seconds, 30.0, 1, (0.9, 1.0, 1.1)) for kind in Kind
    )
    cache = CachePlan(untranscribed, capacity, lambda _: probability, seed=1)
    return AudioStream(labelled, untranscribed, (1, 1), 0.0, 1, cache)


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
