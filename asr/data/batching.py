"""A global batch, cut into micro-batches that fit memory, one a rank and slot."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asr.data.segments import Kind, Segment


def split_into_micro_batches(
    segments: Sequence[Segment], ranks: int, max_micro_batch_seconds: float
) -> list[list[list[Segment]]]:
    """Cut a global batch into micro-batches: [slot][rank] -> segments.

    A slot is of one kind on all ranks, those that are only labelled come first, every rank has the same
    number of slots, and the padded audio of a micro-batch is as balanced as contiguous cuts of the
    length-sorted batch allow and at most `max_micro_batch_seconds` (unless a single utterance is longer). A
    micro-batch may be empty.
    """
    slots: list[list[list[Segment]]] = []
    for kind, is_trained in ((Kind.UNTRANSCRIBED, False), *((kind, True) for kind in Kind)):
        ordered = sorted(
            (s for s in segments if s.kind is kind and s.is_trained is is_trained),
            key=lambda s: (s.augmented_seconds, s.pass_index, s.index, s.use),
        )
        if not ordered:
            continue
        lengths = [segment.augmented_seconds for segment in ordered]
        least = len(_cut(lengths, max_micro_batch_seconds))
        count = math.ceil(least / ranks) * ranks
        cuts = _balanced_cut(lengths, count, max_micro_batch_seconds)
        micro_batches = [ordered[start:end] for start, end in cuts]
        micro_batches += [[] for _ in range(count - len(micro_batches))]
        slots += [micro_batches[first : first + ranks] for first in range(0, count, ranks)]
    return slots


def padded_seconds(segments: Sequence[Segment]) -> float:
    """Audio of a micro-batch after padding to its longest utterance."""
    return max((s.augmented_seconds for s in segments), default=0.0) * len(segments)


def _cut(lengths: Sequence[float], limit: float) -> list[tuple[int, int]]:
    """Greedy contiguous cuts of ascending `lengths` whose padded cost is at most `limit`."""
    cuts, start = [], 0
    for end in range(1, len(lengths) + 1):
        # Ascending order: the last one is the longest.
        if lengths[end - 1] * (end - start) > limit and end - start > 1:
            cuts.append((start, end - 1))
            start = end - 1
    cuts.append((start, len(lengths)))
    return cuts


def _balanced_cut(lengths: Sequence[float], count: int, limit: float) -> list[tuple[int, int]]:
    """At most `count` cuts with the smallest possible largest padded cost, by bisection."""
    low, high = 0.0, limit
    for _ in range(30):
        middle = (low + high) / 2
        if len(_cut(lengths, middle)) <= count:
            high = middle
        else:
            low = middle
    return _cut(lengths, high)
