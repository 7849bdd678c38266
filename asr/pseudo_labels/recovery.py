"""What is done when labels collapse: say so, leave them out, or put the teacher back to when it was healthy."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.config.pseudo_label import HealthConfig
from asr.pseudo_labels.filters import Dropped
from asr.pseudo_labels.health import LabelHealth
from asr.pseudo_labels.label_counts import LabelCounts, Observations
from asr.pseudo_labels.store import LabelStore
from asr.scaling.clock import crossed
from asr.teacher.averages import Averages
from asr.teacher.ema import WeightAverage
from asr.teacher.snapshots import Snapshots

_LABELS_INVALIDATED = 100
"""Those made last when the alarm rings: some eight of its half-lives."""
_LABELS_TOLD = 24.0
"""Labels between two healthy states that are kept: so many would have rung the alarm."""
_LABELS_OF_PROOF = 10.0
"""Labels that must be healthy, nearly all of them, to end a pause."""
_PATIENCE_HALF_LIVES = 0.25
"""Of an average whose labels stay ill: then it is reset, since the student heals it too slowly."""

_ROWS_AFTER_AN_EVENT = 64
"""Looked at together: the next event may be near."""

_REMEDY = (
    "Start pseudo-labelling later (pseudo_label.start_hours), or lower the untranscribed share "
    "(pseudo_label.labelled_to_untranscribed)"
)
_REMEDY_WITHOUT_TRANSCRIPTS = (
    "What the filters drop is not trained on; if labels stay so, make the filters stricter "
    "(pseudo_label.filters), or begin with a better model"
)


class Recovery:
    """The action of `pseudo_label.health`."""

    def __init__(
        self,
        policy: HealthConfig,
        averages: Averages,
        states: Snapshots | None,
        teacher_half_life_hours: float | None = None,
        keeps_labels_for_long: bool = False,
        teacher_from_hours: float = 0.0,
        has_transcripts: bool = True,
    ) -> None:
        """`states` of the weights that label; None where they cannot go back, or shall not.

        The half-life is the average's; None where it does not label. `keeps_labels_for_long`: in a cache, where
        those of a pause would outlive it. `teacher_from_hours`: labels are from outside until then, do not feed
        back on themselves, and it is only said where they look ill. `has_transcripts`: the run trains on some;
        a pause of one that does not would be the end of training, and so it only warns, too.
        """
        if not has_transcripts and policy.action == "pause":
            policy = policy.model_copy(update={"action": "warn"})
        self._remedy = _REMEDY if has_transcripts else _REMEDY_WITHOUT_TRANSCRIPTS
        self.teacher_from_hours = teacher_from_hours
        self.keeps_labels_for_long = keeps_labels_for_long
        self.policy, self.averages, self.states = policy, averages, states
        self.half_life_hours = teacher_half_life_hours
        self.is_paused = False
        """Labels are made and watched, and not trained on."""
        self.resets_at_hours: float | None = None
        """Of audio: the average, if labels are not healthy by then; None where it will not."""
        self.acts_from_hours = 0.0
        """Of audio: the end of the grace; until then it is only said that labels are ill."""
        self.was_ill_in_grace = False
        """Labels were ill within the grace."""
        self.has_rolled_back = False
        """And there has been no healthy state since."""
        self.kept_hours = 0.0
        """Of audio, when a healthy state was last kept."""
        self.kept_labels = 0.0
        """Labels that had been made by then."""
        self._has_moved_weights = False
        """In this batch: the rest of its labels were made by others."""
        self._has_warned = False
        """In this batch."""

    def begin(self, hours: float) -> None:
        """Pseudo-labelling begins."""
        self.acts_from_hours, self.kept_hours = hours + self.policy.grace_hours, hours
        if self.states is not None and self._acts_from_hours <= hours:
            self.states.keep()

    @property
    def _acts_from_hours(self) -> float:
        return max(self.acts_from_hours, self.teacher_from_hours)

    def watch(
        self,
        observed: Observations,
        hours: float,
        health: LabelHealth,
        store: LabelStore,
        tokens_per_second: float,
    ) -> list[str]:
        """Judge after each label and use of a batch, in the order of the stream; act. Returns lines for people.

        So an alarm rings at the same labels however the stream is cut into batches, and a pause ends at the
        same ones. What holds after the last of a batch holds for the next batch: over many, the same share of
        labels is left out. Within a pause uses are not heard, as there would be none had the batch ended with
        it: the student's disagreement would outlast all labels.
        """
        said: list[str] = []
        self._has_moved_weights = self._has_warned = False
        if not len(observed):  # what waits for hours waits without labels, too
            observed = Observations.of([(LabelCounts(), None)])
        row, size = 0, len(observed)
        while row < len(observed):
            stop = min(row + size, len(observed))
            row = self._pass_over(observed, row, stop, hours, health, store, tokens_per_second)
            if row == stop:
                size *= 4
                continue
            new_F1 = observed.counts_FR[:, row : row + 1]
            health.observe_all(new_F1, health.ahead(new_F1))
            faults = health.faults(self.policy, tokens_per_second)
            later = partial(_made_after, observed, row)
            said += self._respond(faults, hours, health, partial(self._invalidate, store, later))
            self._leave_out(observed, row, row + 1, store)
            row, size = row + 1, _ROWS_AFTER_AN_EVENT
        if self._has_moved_weights:
            health.forget_recent()
        elif not said:
            self._keep_if_due(hours, health)
        return said

    def _pass_over(
        self,
        observed: Observations,
        start: int,
        stop: int,
        hours: float,
        health: LabelHealth,
        store: LabelStore,
        tokens_per_second: float,
    ) -> int:
        """Take in the rows from `start` at which there is nothing to say or do; returns the first other one."""
        heard = np.arange(start, stop)
        if self.is_paused:
            heard = heard[~observed.are_uses_alone[start:stop]]
        counts_FR = observed.counts_FR[:, start:stop]
        if len(heard) < stop - start:
            counts_FR = observed.counts_FR[:, heard]
        recent = health.ahead(counts_FR)
        faulty_R = health.are_faulty(recent, self.policy, tokens_per_second)
        events = np.zeros(0, np.int64)
        if not self._has_moved_weights:
            are_events = self._are_events(faulty_R, recent["labels"], health.is_ill, hours)
            events = np.flatnonzero(are_events)
        quiet = int(events[0]) if len(events) else len(heard)
        health.observe_all(counts_FR[:, :quiet], recent)
        if quiet and not self._has_moved_weights:
            health.is_ill = bool(faulty_R[quiet - 1])
        end = int(heard[quiet]) if len(events) else stop
        self._leave_out(observed, start, end, store)
        return end

    def _are_events(
        self,
        faulty_R: NDArray[np.bool_],
        labels_R: NDArray[np.float64],
        was_ill: bool,
        hours: float,
    ) -> NDArray[np.bool_]:
        """At which rows `_respond` does something, unless it has at one before."""
        if self.is_paused:
            is_due = self.resets_at_hours is not None and hours >= self.resets_at_hours
            return (
                np.full(len(faulty_R), True)
                if is_due
                else ~faulty_R & (labels_R >= _LABELS_OF_PROOF)
            )
        acts = self.policy.action != "warn" and hours >= self._acts_from_hours
        if self._has_warned and not acts:
            return np.full(len(faulty_R), False)
        if acts and self.was_ill_in_grace:
            return faulty_R
        newly_R: NDArray[np.bool_] = faulty_R & ~np.append(was_ill, faulty_R)[:-1]
        return newly_R

    def _leave_out(self, observed: Observations, start: int, stop: int, store: LabelStore) -> None:
        """In a cache, where they would outlive a pause: what was made in it, or by weights that are gone."""
        if not self.keeps_labels_for_long or not (self._has_moved_weights or self.is_paused):
            return
        reason = Dropped.INVALIDATED if self._has_moved_weights else Dropped.PAUSED
        for key in map(observed.made, range(start, stop)):
            if key is not None:
                store.leave_out(key, reason)

    def _invalidate(self, store: LabelStore, later: Callable[[], Container[object]]) -> int:
        together = not self.keeps_labels_for_long
        return store.invalidate_latest(_LABELS_INVALIDATED, later(), with_their_round=together)

    def _respond(
        self, faults: list[str], hours: float, health: LabelHealth, invalidate: Callable[[], int]
    ) -> list[str]:
        newly, health.is_ill = bool(faults) and not health.is_ill, bool(faults)
        if not faults:
            return self._on_healthy(hours, health)
        if self.is_paused:
            return self._escalate(hours, health)
        acts = self.policy.action != "warn" and hours >= self._acts_from_hours
        if not newly and not (acts and self.was_ill_in_grace):
            return []
        self.was_ill_in_grace = not acts
        if self._has_warned and not acts:  # a line a batch will do
            return []
        self._has_warned = True
        messages = [f"warning: pseudo-labels look unhealthy: {'; '.join(faults)}. {self._remedy}"]
        if acts:
            messages += self._act(hours, health, invalidate)
        return [f"{hours:8.2f} h  {line}" for line in messages]

    def _act(
        self, hours: float, health: LabelHealth, invalidate: Callable[[], int]
    ) -> Iterator[str]:
        count = invalidate()
        if count:
            yield f"the {count} labels made last are not used any more"
        # From here on labels are judged afresh: the student is not compared with those that are left out.
        health.forget_recent()
        health.is_ill = False
        if self.states is not None and self.states.kept and not self.has_rolled_back:
            self.states.roll_back()
            self._has_moved_weights = True
            # No state is kept before labels have told whether it helped.
            self.kept_hours, self.kept_labels, self.has_rolled_back = hours, health.labels, True
            yield "the teacher is put back to its last healthy state"
            if self.half_life_hours is None:  # it averages what collapsed, and would for half-lives
                self._reset(self.averages)
                yield "and the average restarts from there"
            return
        self.is_paused = True
        yield "pseudo-labels are left out until they are healthy"
        if not self.averages.is_finite():  # and would stay so for ever
            self._reset(self.averages)
            yield "the average holds NaN or infinity: it is reset to the student"
        elif self.half_life_hours is not None:
            self.resets_at_hours = hours + _PATIENCE_HALF_LIVES * self.half_life_hours

    def _escalate(self, hours: float, health: LabelHealth) -> list[str]:
        if self.resets_at_hours is None or hours < self.resets_at_hours:
            return []
        # Once a pause: what that does not help with is not the average's.
        self.resets_at_hours = None
        self._reset(self.averages.labelling)
        health.forget_recent()
        return [f"{hours:8.2f} h  the average labels no better: it is reset to the student"]

    def _reset(self, averages: Averages | WeightAverage) -> None:
        averages.reset_to_student()
        self._has_moved_weights = True

    def _on_healthy(self, hours: float, health: LabelHealth) -> list[str]:
        if not self.is_paused:
            return []
        if health.recent.labels < _LABELS_OF_PROOF:
            return self._escalate(hours, health)
        self.is_paused, self.resets_at_hours = False, None
        return [f"{hours:8.2f} h  pseudo-labels are healthy again"]

    def _keep_if_due(self, hours: float, health: LabelHealth) -> None:
        """Keep a healthy state at the first batch after each multiple of `snapshot_hours` since the grace."""
        if self.states is None or self.is_paused or health.is_ill or hours < self._acts_from_hours:
            return
        origin, every = self._acts_from_hours, self.policy.snapshot_hours
        is_due = crossed(self.kept_hours - origin, hours - origin, every)
        # And only when labels have told that the one before was healthy.
        if is_due and health.labels >= self.kept_labels + _LABELS_TOLD:
            self.states.keep()
            self.kept_hours, self.kept_labels, self.has_rolled_back = hours, health.labels, False

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        return {
            "is_paused": self.is_paused,
            "begins_anew_at_hours": self.resets_at_hours,
            "acts_from_hours": self.acts_from_hours,
            "is_spared": self.was_ill_in_grace,
            "went_back": self.has_rolled_back,
            "kept_hours": self.kept_hours,
            "kept_labels": self.kept_labels,
            "kept": self.states.kept if self.states is not None else 0,
        }

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The healthy states, whole, by the name of their file. A collective."""
        if self.states is None:
            return {}
        return {f"healthy-{n}": self.states.whole(n) for n in range(self.states.kept)}

    def load(self, state: Mapping[str, Any], read: Callable[[str], dict[str, Tensor]]) -> None:
        """Go on from a checkpoint."""
        self.is_paused, self.has_rolled_back = state["is_paused"], state["went_back"]
        # Older checkpoints have none of these.
        self.resets_at_hours = state.get("begins_anew_at_hours")
        self.acts_from_hours = state.get("acts_from_hours", 0.0)
        self.was_ill_in_grace = state.get("is_spared", False)
        self.kept_hours, self.kept_labels = state["kept_hours"], state["kept_labels"]
        if self.states is not None:
            self.states.load([read(f"healthy-{n}") for n in range(state["kept"])])


def _made_after(observed: Observations, row: int) -> set[object]:
    return {observed.made(later) for later in range(row + 1, len(observed))}
