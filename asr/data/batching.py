"""A global batch, cut into micro-batches that fit memory, one a rank and slot; and into parts for measuring."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr.data.segments import Kind, Segment

Slots = list[list[list[Segment]]]
"""[slot][rank] -> segments, as `split_into_micro_batches` makes them."""

_MEASURED_PARTS = 4
_FEWEST_POOLED_GROUPS = 4


@dataclass(frozen=True)
class Part:
    """Whole groups of a measured global batch, whose gradient is taken on its own."""

    stratum: int
    """Parts of one stratum are random samples of the same groups."""
    groups: int
    seconds: float
    """Audio that is trained on, as the clock counts it."""
    segments: tuple[Segment, ...]


def deal_into_parts(groups: Sequence[Sequence[Segment]]) -> list[Part]:
    """The parts of a measured global batch; none where it has too few groups to tell signal from noise.

    A pass is a shuffled sequence of groups, so every second group of a kind is a random sample of that kind:
    of all its lengths, unlike a micro-batch. Kinds are strata, since the stream interleaves them in a fixed
    ratio: what they differ by is no noise of a batch. A kind with a single group here cannot show its noise
    by itself; then all groups are one stratum, if they are four or more. That takes from |G|^2 the squared
    share of that group, of the squared difference between kinds: a sixteenth of it at most.
    """
    trained = [tuple(s for s in group if s.is_trained) for group in groups]
    kinds = [[group for group in trained if group and group[0].kind is kind] for kind in Kind]
    strata = [kind for kind in kinds if kind]
    if any(len(stratum) == 1 for stratum in strata):
        strata = [[group for stratum in strata for group in stratum]]
        if len(strata[0]) < _FEWEST_POOLED_GROUPS:
            return []
    parts = []
    for number, stratum in enumerate(strata):
        count = min(len(stratum), _MEASURED_PARTS // len(strata))
        for first in range(count):
            own = stratum[first::count]
            segments = tuple(segment for group in own for segment in group)
            seconds = math.fsum(segment.seconds for segment in segments)
            parts.append(Part(number, len(own), seconds, segments))
    return parts


def part_numbers(parts: Sequence[Part]) -> dict[Segment, int]:
    """In which part a segment is."""
    return {segment: number for number, part in enumerate(parts) for segment in part.segments}


def split_into_micro_batches(
    segments: Sequence[Segment],
    ranks: int,
    max_micro_batch_seconds: float,
    part_of: Mapping[Segment, int] | None = None,
    shortest_seconds: float = 0.0,
) -> Slots:
    """Cut a global batch into micro-batches: [slot][rank] -> segments.

    Slots that are only labelled come first; one that is trained on may hold both kinds of speech. Every rank
    has the same number of slots, and the padded audio of a micro-batch is as balanced as contiguous cuts of the
    length-sorted batch allow and at most `max_micro_batch_seconds` (unless a single utterance is longer). A
    micro-batch may be empty. With `part_of`, each holds segments of one part alone. An utterance counts as
    `shortest_seconds` at least: an encoder-decoder hears silence behind it.
    """
    slots: Slots = []
    for is_trained in (False, True):
        found = [s for s in segments if s.is_trained is is_trained]
        parts: dict[int, list[Segment]] = {}
        for segment in sorted(
            found, key=lambda s: (s.augmented_seconds, s.kind, s.pass_index, s.index, s.use)
        ):
            parts.setdefault(part_of.get(segment, 0) if part_of else 0, []).append(segment)
        if not found:
            continue
        lengths = [
            [max(shortest_seconds, s.augmented_seconds) for s in part] for part in parts.values()
        ]
        least = sum(len(_cut(of_part, max_micro_batch_seconds)) for of_part in lengths)
        count = math.ceil(least / ranks) * ranks
        cuts = _balanced_cuts(lengths, count, max_micro_batch_seconds)
        micro_batches = [
            part[start:end]
            for part, of_part in zip(parts.values(), cuts, strict=True)
            for start, end in of_part
        ]
        if len(parts) > 1:  # neighbours in a slot wait for each other
            micro_batches.sort(key=padded_seconds)
        micro_batches += [[] for _ in range(count - len(micro_batches))]
        slots += [micro_batches[first : first + ranks] for first in range(0, count, ranks)]
    return slots


def padded_seconds(segments: Sequence[Segment]) -> float:
    """Audio of a micro-batch after padding to its longest utterance."""
    return max((s.augmented_seconds for s in segments), default=0.0) * len(segments)


def padding_share(slots: Slots) -> float:
    """Share of the processed audio that is padding; ranks that wait for the longest of a slot included."""
    processed = sum(max(map(padded_seconds, slot)) * len(slot) for slot in slots)
    played = sum(s.augmented_seconds for slot in slots for part in slot for s in part)
    return 1.0 - played / processed


def _cut(lengths: Sequence[float], limit: float) -> list[tuple[int, int]]:
    """Greedy contiguous cuts of ascending `lengths` whose padded cost is at most `limit`."""
    cuts, start, count = [], 0, len(lengths)
    # Ascending order: the last one is the longest, and what follows a cut takes no more utterances than it.
    size = bisect_right(range(1, count + 1), limit, key=lambda n: lengths[n - 1] * n)
    while start < count:
        size = max(1, min(size, count - start))
        while size > 1 and lengths[start + size - 1] * size > limit:
            size -= 1
        cuts.append((start, start + size))
        start += size
    return cuts


def _balanced_cuts(
    lengths: Sequence[Sequence[float]], count: int, limit: float
) -> list[list[tuple[int, int]]]:
    """At most `count` cuts of all parts with the smallest possible largest padded cost, by bisection."""
    low, high = 0.0, limit
    for _ in range(30):
        middle = (low + high) / 2
        if sum(len(_cut(part, middle)) for part in lengths) <= count:
            high = middle
        else:
            low = middle
    return [_cut(part, high) for part in lengths]
