"""Audio in an object store is brought as far ahead as its stream is known to be needed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from itertools import chain

from asr.config.store import StoreConfig
from asr.data.dataset import SpeechSet
from asr.data.loading.planning import Planned
from asr.data.sampler import Position
from asr.data.segments import Kind, Segment
from asr.data.store.fetcher import Arrival, fetcher_of
from asr.errors import StoreAwayError

_SHARE_OF_CACHE = 0.25
_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class _Coming:
    """A batch whose audio is on its way."""

    planned: Planned
    arrivals: list[Arrival]
    count_bytes: int


class ReadAhead:
    """Of one rank."""

    def __init__(self, sets: Mapping[Kind, SpeechSet], config: StoreConfig) -> None:
        self._sets, self._config = sets, config
        self.is_needed = any(speech.is_in_store for speech in sets.values())
        ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
        self._most_bytes = _SHARE_OF_CACHE * config.cache_gigabytes * 1e9 / ranks_here
        self._known_refetched = 0
        self.is_stopped: Callable[[], bool] = lambda: False
        """Whether somebody asked to end: then nothing is waited for."""
        self.away: StoreAwayError | None = None
        """Why no more batches come."""

    def over(
        self, begin: Callable[[Position], Iterator[Planned]], start: Position, rank: int
    ) -> Iterator[Planned]:
        """The batches that `begin` plans from a position on, each when this rank's audio of it is here.

        Ends, having said so in `away`, before one whose audio does not come: the store is away.
        """
        self.away = None
        if not self.is_needed:
            yield from begin(start)
            return
        plans = begin(start)
        coming: deque[_Coming] = deque()
        last = start
        while True:
            try:
                for _ in range(2):  # by one more an update, so that the first need not wait for all
                    if coming and not self._has_room(coming):
                        break
                    one = self._asked(next(plans), rank)
                    coming.append(one)
                    last = one.planned.batch.after
            except Exception:
                if not coming:
                    raise
                plans = begin(last)  # it is no error yet, see made_ahead
            first = coming.popleft()
            self.away = self._arrived(first.arrivals)
            if self.away is not None:
                return
            yield first.planned

    def taken_refetched(self) -> int:
        """How many requests had to be made again since this was asked."""
        if not self.is_needed:
            return 0
        before, self._known_refetched = self._known_refetched, fetcher_of(self._config).refetched
        return self._known_refetched - before

    def _has_room(self, coming: deque[_Coming]) -> bool:
        there = sum(one.count_bytes for one in coming)
        return len(coming) < self._config.updates_ahead and there < self._most_bytes

    def _asked(self, planned: Planned, rank: int) -> _Coming:
        own = chain.from_iterable(slot[rank] for slot in planned.slots)
        return _Coming(planned, *self._ask(list(own)))

    def _ask(self, segments: Sequence[Segment]) -> tuple[list[Arrival], int]:
        found = [self._sets[one.kind].remote_part(one.index) for one in segments]
        parts = [part for part in found if part is not None]
        return fetcher_of(self._config).ask(parts), sum(part.count for part in parts)

    def _arrived(self, arrivals: Sequence[Arrival]) -> StoreAwayError | None:
        """Why one of them has not; None where all have, or are lost."""
        for arrival in arrivals:
            while True:
                try:
                    away = arrival.result(_LOOK_EVERY_SECONDS)
                except NotYet:
                    if self.is_stopped():
                        return StoreAwayError(
                            "audio had not come when the run was stopped", "go on"
                        )
                    continue
                if away is not None:
                    return away
                break
        return None
