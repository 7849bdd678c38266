"""When labels are made: at each use, once for several uses, or all at once now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.config.schema import Config
from asr.data.segments import Segment
from asr.pseudo_labels.records import Key
from asr.scaling.clock import crossed
from asr.utils.plugins import find_class
from asr.utils.seeds import SeedTag, generator

_URGENCY = 10
"""While labels are paused, rounds come so much more often."""


class Schedule:
    """When utterances are labelled."""

    labels_at_use = True
    """Whether a label is made for the very update that trains on it."""
    has_cache = False
    """Whether the stream plays untranscribed speech through the cache of `pseudo_label.cache`."""
    is_urgent = False
    """Set while labels are paused since they are bad: new ones are wanted soon."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.rounds_done = 0
        self.last_round_hours: float | None = None
        """Of audio; None if the next round is due at once."""
        self.first_round_hours: float | None = None
        """Of audio, from which the times of all others are counted."""

    def key(self, segment: Segment) -> Key:
        """Under which a label is kept."""
        return (segment.pass_index, segment.index)

    def is_round_due(self, hours: float) -> bool:
        """Whether utterances are labelled together before the update at `hours` of audio.

        Asked before updates that have untranscribed speech.
        """
        return False

    def chosen(self, utterances: int) -> NDArray[np.int64]:
        """Which of the untranscribed utterances the round labels, ascending."""
        return np.empty(0, np.int64)

    def round_done(self, hours: float) -> None:
        """A round was made."""
        self.rounds_done += 1
        self.last_round_hours = hours
        if self.first_round_hours is None:
            self.first_round_hours = hours

    def on_teacher_rollback(self) -> None:
        """The teacher that made the latest labels had collapsed, and is well again."""

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        names = ("rounds_done", "last_round_hours", "first_round_hours")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.rounds_done, self.last_round_hours = state["rounds_done"], state["last_round_hours"]
        # Older checkpoints have none: theirs are counted from the last one.
        self.first_round_hours = state.get("first_round_hours", self.last_round_hours)


class OnlineSchedule(Schedule):
    """Anew for each update, by the teacher of that moment."""


class CacheSchedule(Schedule):
    """Once for several uses (slimIPL, arXiv 2010.11524): data/cache_sampler.py has the turns."""

    labels_at_use = False
    has_cache = True


class RoundsSchedule(Schedule):
    """All, or a share of them, every so many hours (IPL, arXiv 2005.09267; TopIPL, arXiv 2506.07659).

    Each before the first batch that begins at a multiple of the interval, counted from the first round, or
    later: counted from the round before, they would drift by half a batch each.
    """

    labels_at_use = False

    def key(self, segment: Segment) -> Key:
        return (0, segment.index)

    def is_round_due(self, hours: float) -> bool:
        every = self.config.pseudo_label.rounds.every_hours
        if self.is_urgent:
            every /= _URGENCY
        first, last = self.first_round_hours, self.last_round_hours
        return first is None or last is None or crossed(last - first, hours - first, every)

    def chosen(self, utterances: int) -> NDArray[np.int64]:
        if self.rounds_done == 0:
            return np.arange(utterances)
        share = self.config.pseudo_label.rounds.share
        random = generator(self.config.seed, SeedTag.ROUNDS, self.rounds_done)
        return np.sort(random.permutation(utterances)[: max(1, round(share * utterances))])

    def on_teacher_rollback(self) -> None:
        self.last_round_hours = None


_OURS: dict[str, type[Schedule]] = {
    "online": OnlineSchedule,
    "cache": CacheSchedule,
    "rounds": RoundsSchedule,
}


def schedule_class(config: Config) -> type[Schedule]:
    """What `pseudo_label.schedule` names. Raises UserError if it cannot be had."""
    return find_class("pseudo_label.schedule", config.pseudo_label.schedule, _OURS, Schedule)
