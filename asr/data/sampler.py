"""One stream of audio; batch size and ranks only say how it is cut.

A pass over a corpus is a shuffled sequence of small groups of utterances of similar length, a pure
function of (corpus, seed, pass). Labelled and untranscribed groups are interleaved N_L : N_U from the
start of pseudo-labelling on. A global batch is the next so many groups of the stream, so the batch at
kappa = 8 is the union of eight batches at kappa = 1, and the data position of a run is a few integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.data.cache_sampler import CachePlan, CacheState
from asr.data.segments import GroupedCorpus, Kind, Segment
from asr.scaling.rule import SECONDS_PER_HOUR
from asr.utils.seeds import SeedTag, generator


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
    opens_at_seconds: float | None = None
    """Audio drawn where untranscribed groups begin, in a stream that waits to be told; None: not told (yet)."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Position:
        """What `asdict` gave."""
        cache = state.get("cache")
        return cls(**{**state, "cache": cache and CacheState.from_state(cache)})


@dataclass(frozen=True)
class GlobalBatch:
    """The next groups of the stream, and the position after them."""

    groups: tuple[tuple[Segment, ...], ...]
    """In the order of the stream. What a turn of the cache labels and what it trains on are one."""
    seconds: float
    """Of those that are trained on."""
    after: Position

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Of all groups."""
        return tuple(segment for group in self.groups for segment in group)

    @cached_property
    def utterances(self) -> NDArray[np.int64]:
        """(N,) of each segment its utterance's place in its corpus."""
        return np.array([segment.index for segment in self.segments], np.int64)

    @property
    def labels(self) -> bool:
        """Whether it has untranscribed speech."""
        return any(segment.kind is Kind.UNTRANSCRIBED for segment in self.segments)


class AudioStream:
    """The interleaved stream of labelled and untranscribed groups.

    `start_hours` is where untranscribed groups begin, in hours of audio drawn from the stream (None: never); a
    stream without labelled ones begins with them. It is a property of the stream and not of the batches, so
    that every batch size sees the same sequence. A stream that `waits` begins them where its position says
    (`opens_at_seconds`).
    """

    def __init__(
        self,
        labelled: GroupedCorpus | None,
        untranscribed: GroupedCorpus | None,
        ratio: tuple[int, int],
        start_hours: float | None,
        seed: int,
        cache: CachePlan | None = None,
        waits: bool = False,
    ) -> None:
        self.cache, self.waits = cache, waits
        self.corpora = {Kind.LABELLED: labelled, Kind.UNTRANSCRIBED: untranscribed}
        self.ratio = ratio
        self.start_seconds = math.inf if start_hours is None else start_hours * SECONDS_PER_HOUR
        self.seed = seed
        self._period: tuple[int, list[int]] = (-1, [])
        """Its number, and the order of its kinds."""

    def is_open(self, position: Position) -> bool:
        """Whether untranscribed groups have begun."""
        if not self.waits:
            return position.seconds >= self.start_seconds
        told = position.opens_at_seconds
        return position.interleaved_groups > 0 or (told is not None and position.seconds >= told)

    def told(self, position: Position, may_open: bool) -> Position:
        """Where a stream that waits goes on: untranscribed groups begin here, but not before `start_hours`.

        Or not yet, unless they have begun.
        """
        if not self.waits or self.is_open(position):
            return position
        opens_at = max(self.start_seconds, position.seconds) if may_open else None
        return replace(position, opens_at_seconds=opens_at)

    def next_batch(self, position: Position, groups: int) -> GlobalBatch:
        """The next `groups` groups that are trained on from `position` on, and those labelled on the way."""
        drawn: list[tuple[Segment, ...]] = []
        before = position.seconds
        while groups:
            group, position = self._next_group(position)
            drawn.append(group)
            groups -= any(segment.is_trained for segment in group)
        return GlobalBatch(tuple(drawn), position.seconds - before, position)

    def _next_group(self, position: Position) -> tuple[tuple[Segment, ...], Position]:
        kind = self._kind_at(position)
        if kind is Kind.UNTRANSCRIBED and self.cache is not None:
            segments, position = self._turn_of_the_cache(self.cache, position)
        else:
            segments, position = self._draw(kind, position)
        return segments, replace(
            position,
            interleaved_groups=position.interleaved_groups + self.is_open(position),
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
            labelled = tuple(one._replace(is_trained=False, speed=1.0) for one in new)
        return (*labelled, *event.trained), replace(position, cache=state)

    def _kind_at(self, position: Position) -> Kind:
        if self.corpora[Kind.LABELLED] is None:
            return Kind.UNTRANSCRIBED
        if not self.is_open(position) or self.corpora[Kind.UNTRANSCRIBED] is None:
            return Kind.LABELLED
        period, slot = divmod(position.interleaved_groups, sum(self.ratio))
        if self._period[0] != period:
            random = generator(self.seed, SeedTag.INTERLEAVING, period)
            self._period = period, random.permutation(sum(self.ratio)).tolist()
        return Kind.LABELLED if self._period[1][slot] < self.ratio[0] else Kind.UNTRANSCRIBED
