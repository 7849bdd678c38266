"""One stream of audio; batch size and ranks only say how it is cut.

A pass over a corpus is a shuffled sequence of small groups of utterances of similar length, a pure
function of (corpus, seed, pass). Labelled and untranscribed groups are interleaved N_L : N_U from the
start of pseudo-labelling on. A global batch is the next so many groups of the stream, so the batch at
kappa = 8 is the union of eight batches at kappa = 1, and the data position of a run is a few integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.data.cache_sampler import CachePlan, CacheState
from asr.errors import UserError
from asr.scaling.rule import SECONDS_PER_HOUR

# Durations are multiplied by 1 +- this before they are sorted, so that the members of a group are of
# similar length and yet differ from pass to pass.
_DURATION_JITTER = 0.1


class Kind(StrEnum):
    """What an utterance is used as."""

    LABELLED = "labelled"
    UNTRANSCRIBED = "untranscribed"


_SEED_OF_KIND = {Kind.LABELLED: 1, Kind.UNTRANSCRIBED: 2}
_SEED_OF_INTERLEAVING = 3


@dataclass(frozen=True)
class Segment:
    """One utterance as one pass plays it."""

    kind: Kind
    index: int
    """Place of the utterance in its corpus."""
    pass_index: int
    seconds: float
    """Audio on disk: what the clock counts."""
    speed: float = 1.0
    """Speed perturbation factor."""
    is_trained: bool = True
    """False: only labelled, for the cache."""
    use: int = 0
    """From 1, of a label that is kept; 0 for a transcript, or a label that is made now."""
    is_last_use: bool = False

    @property
    def played_seconds(self) -> float:
        """Audio that the student hears."""
        return self.seconds / self.speed

    def seed(self, run_seed: int) -> tuple[int, ...]:
        """Seed of this segment's augmentation, whatever batch or rank it falls to."""
        own = (run_seed, _SEED_OF_KIND[self.kind], self.pass_index, self.index)
        return (*own, self.use) if self.use else own


@dataclass(frozen=True)
class Position:
    """Where a run stands in the stream. All that a checkpoint needs to know about the data."""

    labelled_pass: int = 0
    labelled_group: int = 0
    untranscribed_pass: int = 0
    untranscribed_group: int = 0
    interleaved_groups: int = 0
    """Groups drawn since the start of pseudo-labelling."""
    seconds: float = 0.0
    """Audio drawn from the stream so far, but for what was only labelled."""
    cache: CacheState | None = None
    """None without a cache of labels."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Position:
        """What `asdict` gave."""
        cache = state.get("cache")
        return cls(**{**state, "cache": cache and CacheState.from_state(cache)})


@dataclass(frozen=True)
class GlobalBatch:
    """The next groups of the stream, and the position after them."""

    segments: tuple[Segment, ...]
    seconds: float
    """Of those that are trained on."""
    after: Position

    @property
    def labels(self) -> bool:
        """Whether it has untranscribed speech."""
        return any(segment.kind is Kind.UNTRANSCRIBED for segment in self.segments)


class GroupedCorpus:
    """Passes over one corpus, each cut into groups of about `group_seconds`."""

    def __init__(
        self,
        kind: Kind,
        seconds: Sequence[float] | NDArray[np.float64],
        group_seconds: float,
        seed: int,
        speed_factors: Sequence[float] = (1.0,),
    ) -> None:
        self.kind = kind
        self.seconds = np.asarray(seconds, dtype=np.float64)
        if not len(self.seconds):
            raise UserError(
                f"no {kind} utterances: check corpus.{kind} and the limits of their length"
            )
        self.group_seconds = group_seconds
        self.seed = seed
        self.speed_factors = tuple(speed_factors)
        self._pass_index = -1
        self._groups: list[NDArray[np.int64]] = []
        self._speeds = np.empty(0)

    @property
    def mean_group_seconds(self) -> float:
        """Audio of a group of the first pass, on average."""
        return float(self.seconds.sum()) / self.groups_in_pass(0)

    def groups_in_pass(self, pass_index: int) -> int:
        self._load_pass(pass_index)
        return len(self._groups)

    def group(self, pass_index: int, group: int) -> tuple[Segment, ...]:
        """The utterances of one group of one pass."""
        self._load_pass(pass_index)
        return tuple(
            Segment(self.kind, int(i), pass_index, float(self.seconds[i]), float(self._speeds[i]))
            for i in self._groups[group]
        )

    def _load_pass(self, pass_index: int) -> None:
        if pass_index == self._pass_index:
            return
        random = np.random.default_rng([self.seed, _SEED_OF_KIND[self.kind], pass_index])
        jitter = random.uniform(1.0 - _DURATION_JITTER, 1.0 + _DURATION_JITTER, len(self.seconds))
        order = np.argsort(self.seconds * jitter, kind="stable")
        ends = np.cumsum(self.seconds[order])
        count = max(1, round(float(ends[-1]) / self.group_seconds))
        # An utterance belongs to the group in whose span of audio its middle falls; a group that an
        # utterance longer than a group leaves empty does not exist.
        middles = ends - self.seconds[order] / 2
        group_of = np.minimum((middles / ends[-1] * count).astype(np.int64), count - 1)
        boundaries = np.flatnonzero(np.diff(group_of)) + 1
        groups = np.split(order, boundaries)
        self._groups = [groups[i] for i in random.permutation(len(groups))]
        self._speeds = random.choice(np.asarray(self.speed_factors), len(self.seconds))
        self._pass_index = pass_index


class AudioStream:
    """The interleaved stream of labelled and untranscribed groups.

    `start_hours` is where untranscribed groups begin, in hours of audio drawn from the stream (None:
    never). It is a property of the stream and not of the batches, so that every batch size sees the
    same sequence.
    """

    def __init__(
        self,
        labelled: GroupedCorpus,
        untranscribed: GroupedCorpus | None,
        ratio: tuple[int, int],
        start_hours: float | None,
        seed: int,
        cache: CachePlan | None = None,
    ) -> None:
        self.cache = cache
        self.corpora = {Kind.LABELLED: labelled, Kind.UNTRANSCRIBED: untranscribed}
        self.ratio = ratio
        self.start_seconds = math.inf if start_hours is None else start_hours * SECONDS_PER_HOUR
        self.seed = seed

    def next_batch(self, position: Position, groups: int) -> GlobalBatch:
        """The next `groups` groups that are trained on from `position` on, and those labelled on the way."""
        segments: list[Segment] = []
        before = position.seconds
        while groups:
            group, position = self._next_group(position)
            segments.extend(group)
            groups -= any(segment.is_trained for segment in group)
        return GlobalBatch(tuple(segments), position.seconds - before, position)

    def _next_group(self, position: Position) -> tuple[tuple[Segment, ...], Position]:
        kind = self._kind_at(position)
        if kind is Kind.UNTRANSCRIBED and self.cache is not None:
            segments, position = self._turn_of_the_cache(self.cache, position)
        else:
            segments, position = self._draw(kind, position)
        return segments, replace(
            position,
            interleaved_groups=position.interleaved_groups
            + (position.seconds >= self.start_seconds),
            seconds=position.seconds + math.fsum(s.seconds for s in segments if s.is_trained),
        )

    def _draw(self, kind: Kind, position: Position) -> tuple[tuple[Segment, ...], Position]:
        """The next group of a corpus."""
        corpus = self.corpora[kind]
        assert corpus is not None
        pass_index = getattr(position, f"{kind}_pass")
        number = getattr(position, f"{kind}_group")
        segments = corpus.group(pass_index, number)
        number += 1
        if number == corpus.groups_in_pass(pass_index):
            pass_index, number = pass_index + 1, 0
        moved = {f"{kind}_pass": pass_index, f"{kind}_group": number}
        return segments, replace(position, **moved)

    def _turn_of_the_cache(
        self, cache: CachePlan, position: Position
    ) -> tuple[tuple[Segment, ...], Position]:
        event = cache.turn(position.cache or CacheState())
        state = event.state
        labelled: tuple[Segment, ...] = ()
        if event.wants_group:
            place = position.untranscribed_pass, position.untranscribed_group
            new, position = self._draw(Kind.UNTRANSCRIBED, position)
            state = cache.with_group(state, event.slot, *place, new)
            labelled = tuple(replace(segment, is_trained=False, speed=1.0) for segment in new)
        return (*labelled, *event.trained), replace(position, cache=state)

    def _kind_at(self, position: Position) -> Kind:
        if position.seconds < self.start_seconds or self.corpora[Kind.UNTRANSCRIBED] is None:
            return Kind.LABELLED
        period, slot = divmod(position.interleaved_groups, sum(self.ratio))
        random = np.random.default_rng([self.seed, _SEED_OF_INTERLEAVING, period])
        return (
            Kind.LABELLED
            if random.permutation(sum(self.ratio))[slot] < self.ratio[0]
            else Kind.UNTRANSCRIBED
        )


def deal(
    segments: Sequence[Segment], ranks: int, max_micro_batch_seconds: float
) -> list[list[list[Segment]]]:
    """Cut a global batch into micro-batches and deal them out: [slot][rank] -> segments.

    A slot is of one kind on all ranks, those that are only labelled come first, every rank has the same
    number of slots, and the padded audio of a micro-batch is as balanced as contiguous cuts of the
    length-sorted batch allow and at most `max_micro_batch_seconds` (unless a single utterance is longer). A
    micro-batch may be empty.
    """
    slots: list[list[list[Segment]]] = []
    for kind, is_trained in ((Kind.UNTRANSCRIBED, False), *((kind, True) for kind in Kind)):
        ordered = sorted(
            (s for s in segments if s.kind is kind and s.is_trained is is_trained),
            key=lambda s: (s.played_seconds, s.pass_index, s.index, s.use),
        )
        if not ordered:
            continue
        lengths = [segment.played_seconds for segment in ordered]
        least = len(_cut(lengths, max_micro_batch_seconds))
        count = math.ceil(least / ranks) * ranks
        cuts = _balanced_cut(lengths, count, max_micro_batch_seconds)
        micro_batches = [ordered[start:end] for start, end in cuts]
        micro_batches += [[] for _ in range(count - len(micro_batches))]
        slots += [micro_batches[first : first + ranks] for first in range(0, count, ranks)]
    return slots


def padded_seconds(segments: Sequence[Segment]) -> float:
    """Audio of a micro-batch after padding to its longest utterance."""
    return max((s.played_seconds for s in segments), default=0.0) * len(segments)


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
