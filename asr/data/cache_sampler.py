"""Which groups of untranscribed speech are in the cache, and which is used next: slimIPL's dynamic cache.

Likhomanenko et al., arXiv 2010.11524: until the cache is full, untranscribed speech only fills it. Then the
student trains on the next group of a shuffled pass over the cache, with the label that is kept, and with
probability p a group that is labelled now takes its place. So a label is used 1 / p times on average, at a
mean age of C / p groups.

All of it is a function of the stream and the seed, whatever batches and ranks: the state is a few integers a
group, and labels are nowhere in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.data.segments import GroupedCorpus, Segment
from asr.utils.seeds import SeedTag, generator

Slot = tuple[int, int, int]
"""(pass, group of that pass, uses so far)"""
_SLOTS_IN_A_PART = 256


@dataclass(frozen=True)
class Slots:
    """An immutable list of slots, of which another with one slot changed is made cheaply: it is in parts."""

    parts: tuple[tuple[Slot, ...], ...] = ()
    count: int = 0

    @classmethod
    def of(cls, slots: Iterable[Slot]) -> Slots:
        found = tuple(slots)
        starts = range(0, len(found), _SLOTS_IN_A_PART)
        return cls(tuple(found[s : s + _SLOTS_IN_A_PART] for s in starts), len(found))

    def __iter__(self) -> Iterator[Slot]:
        return itertools.chain.from_iterable(self.parts)

    def __getitem__(self, place: int) -> Slot:
        part, inside = divmod(place, _SLOTS_IN_A_PART)
        return self.parts[part][inside]

    def put(self, place: int, slot: Slot) -> Slots:
        """With another slot at a place, or one more behind the others."""
        number, inside = divmod(place, _SLOTS_IN_A_PART)
        part = self.parts[number] if number < len(self.parts) else ()
        part = (*part[:inside], slot, *part[inside + 1 :])
        parts = (*self.parts[:number], part, *self.parts[number + 1 :])
        return Slots(parts, max(self.count, place + 1))


@dataclass(frozen=True)
class CacheState:
    """Where a run stands in its cache."""

    slots: Slots = Slots()
    utterances: int = 0
    cache_pass: int = 0
    """Passes over the full cache."""
    place: int = 0
    """Uses in this pass."""

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CacheState:
        """What `asdict` gave."""
        parts = state["slots"]["parts"]
        slots = Slots.of((a, b, c) for part in parts for a, b, c in part)
        return cls(**{**state, "slots": slots})


@dataclass(frozen=True)
class CacheEvent:
    """What a turn of untranscribed speech does."""

    trained: tuple[Segment, ...]
    """Empty while the cache fills."""
    wants_group: bool
    """Whether the next group of the corpus is labelled, for `slot`."""
    slot: int
    state: CacheState
    """After it, but for the new group."""


class CachePlan:
    """Turns of untranscribed speech, with a cache of groups."""

    def __init__(
        self,
        corpus: GroupedCorpus,
        capacity_utterances: int,
        probability: Callable[[int], float],
        seed: int,
    ) -> None:
        """`probability` of replacement in a pass over the cache, by the number of the pass."""
        self.corpus, self.capacity, self.probability = corpus, capacity_utterances, probability
        self.seed = seed
        self._groups: dict[tuple[int, int], tuple[Segment, ...]] = {}
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def turn(self, state: CacheState) -> CacheEvent:
        """The next turn."""
        if state.utterances < self.capacity:
            return CacheEvent((), True, state.slots.count, state)
        count = state.slots.count
        slot = int(self._order_of(state.cache_pass, count)[state.place])
        pass_index, group, uses = state.slots[slot]
        random = generator(self.seed, SeedTag.CACHE_REPLACEMENT, state.cache_pass, state.place)
        replaced = bool(random.random() < self.probability(state.cache_pass))
        trained = self._use(state, pass_index, group, uses + 1, replaced)
        slots = state.slots.put(slot, (pass_index, group, uses + 1))
        at_end = state.place + 1 == count
        after = CacheState(
            slots,
            state.utterances,
            state.cache_pass + at_end,
            0 if at_end else state.place + 1,
        )
        return CacheEvent(trained, replaced, slot, after)

    def with_group(
        self, state: CacheState, slot: int, pass_index: int, group: int, segments: Sequence[Segment]
    ) -> CacheState:
        """The state with a new group in a slot: behind the others while the cache fills, else over one."""
        new: Slot = (pass_index, group, 0)
        self._groups[pass_index, group] = tuple(segments)
        utterances = state.utterances
        if slot == state.slots.count:
            utterances += len(segments)
        else:  # the number stays what it was when the cache was full: it is full for ever
            old_pass, old_group, _ = state.slots[slot]
            self._groups.pop((old_pass, old_group), None)
        return replace(state, slots=state.slots.put(slot, new), utterances=utterances)

    def _order_of(self, cache_pass: int, count: int) -> NDArray[np.int64]:
        if self._order[0] != cache_pass:
            random = generator(self.seed, SeedTag.CACHE_ORDER, cache_pass)
            self._order = (cache_pass, random.permutation(count))
        return self._order[1]

    def _use(
        self, state: CacheState, pass_index: int, group: int, use: int, is_last: bool
    ) -> tuple[Segment, ...]:
        """Each use is augmented and sped up in its own way."""
        random = generator(self.seed, SeedTag.CACHE_SPEED, pass_index, group, use)
        segments = self._group(state, pass_index, group)
        speeds = random.choice(np.asarray(self.corpus.speed_factors), len(segments))
        return tuple(
            segment._replace(use=use, is_last_use=is_last, speed=float(speed))
            for segment, speed in zip(segments, speeds, strict=True)
        )

    def _group(self, state: CacheState, pass_index: int, group: int) -> tuple[Segment, ...]:
        if (pass_index, group) not in self._groups:  # after a resume: all, pass by pass
            places = sorted((p, g) for p, g, _ in state.slots)
            self._groups = {place: self.corpus.group(*place) for place in places}
        return self._groups[pass_index, group]
