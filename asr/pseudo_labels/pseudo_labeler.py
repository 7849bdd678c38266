"""Pseudo-labels of a run: who labels, when, what is kept, dropped and noted, and what is done at a collapse.

The trainer calls this, batch by batch; all of it is the same on every rank but for the micro-batches that
a rank labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from asr.config.pseudo_label import HealthConfig
from asr.config.schema import Config
from asr.data.batching import split_into_micro_batches
from asr.data.dataloader import TrainingData
from asr.data.loading.micro_batch import MicroBatch
from asr.data.sampler import GlobalBatch
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.pseudo_labels.cache_policy import CachePolicy
from asr.pseudo_labels.filters import Dropped, token_edits
from asr.pseudo_labels.health import LabelHealth, shown_metrics
from asr.pseudo_labels.label import Label, token_weights
from asr.pseudo_labels.label_counts import LabelCounts
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.maker import LabelMaker
from asr.pseudo_labels.records import Comparison, LabelUseRecord
from asr.pseudo_labels.recovery import Recovery
from asr.pseudo_labels.schedules import Schedule
from asr.pseudo_labels.sharing.exchange import BatchNotes, Shared
from asr.pseudo_labels.store import KeptLabel, LabelStore
from asr.teacher.teachers import Teacher

_ROUND_PART = 4096
"""Utterances that ranks label before they exchange their labels."""
_UNLABELLED = KeptLabel(b"", math.nan, str(Dropped.UNLABELLED))


@dataclass
class PseudoLabeler:
    """The labels of one run."""

    config: Config
    data: TrainingData
    ranks: Ranks
    maker: LabelMaker
    schedule: Schedule
    recovery: Recovery
    cache_policy: CachePolicy
    say: Callable[[str], None]
    store: LabelStore = field(default_factory=LabelStore)
    health: LabelHealth = field(default_factory=LabelHealth)
    ledger: LabelLedger | None = None
    """While it trains."""
    is_begun: bool = False
    batch: int = 0
    """From 1, as in metrics.jsonl."""
    hours: float = 0.0
    """Of audio, before the batch."""
    _notes: BatchNotes = field(default_factory=BatchNotes)
    """This rank's, not yet shared."""
    _made_for_cache: Shared | None = None
    """Of the batch, all ranks'; not yet watched."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Of the batch, over all ranks, by reason."""

    @property
    def teacher(self) -> Teacher:
        """Whose weights label."""
        return self.maker.teacher

    def begin_batch(
        self,
        batch: GlobalBatch,
        number: int,
        hours: float,
        places: Mapping[Segment, int] | None = None,
    ) -> None:
        """Before anything of a batch is labelled; may label a round. A collective.

        `places` in the batch, if known, of the segments that fall to this rank.
        """
        self.batch, self.hours = number + 1, hours
        self.dropped = Counter()
        if not batch.labels:
            return
        if not self.is_begun:
            self.teacher.begin(hours)
            self.recovery.begin(hours)
            self.is_begun = True
        self.schedule.is_urgent = self.recovery.is_paused
        if self.schedule.is_round_due(hours):
            self._label_a_round()
        self._notes.begin(batch.segments, places, batch.utterances)

    def targets(
        self, micro_batch: MicroBatch, student_frames: Sequence[int]
    ) -> tuple[list[list[int]], list[int], list[list[float] | None]]:
        """Tokens of each utterance, places to train on, tokens' weights. A collective where labels are made."""
        if self.schedule.labels_at_use:
            made = self._label(micro_batch, student_frames)
            found = [(label.tokens, list(label.confidences), label.dropped) for label in made]
        else:
            found = self._look_up(micro_batch, student_frames)
        kept = [place for place, (*_, dropped) in enumerate(found) if dropped is None]
        weights = [token_weights(sure) for _, sure, _ in found]
        return [tokens for tokens, *_ in found], kept, weights

    def label_for_cache(self, micro_batch: MicroBatch) -> None:
        """Label utterances for the cache. A collective under ZeRO 1 to 3."""
        self._label(micro_batch, None)

    def share_labels(self) -> None:
        """Give all ranks the labels that were made for the cache. A collective."""
        if not self.schedule.labels_at_use:
            self._made_for_cache = self._shared().with_earlier(self._made_for_cache)

    def compare(
        self, segments: Sequence[Segment], paths: Sequence[list[int]], targets: Sequence[list[int]]
    ) -> None:
        """The student's own greedy paths, as it trains, beside the labels of these segments."""
        for segment, path, target in zip(segments, paths, targets, strict=True):
            place, edits = self._notes.places[segment], token_edits(path, target)
            self._notes.own.compared.append(Comparison(place, edits, len(target)))

    def end_batch(self, batch: GlobalBatch) -> None:
        """Gather what the ranks did; watch. A collective."""
        if batch.labels:
            shared = self._shared().with_earlier(self._made_for_cache)
            self._made_for_cache = None
            if self.schedule.has_cache:
                self.store.discard(
                    self.schedule.key(segment) for segment in batch.segments if segment.is_last_use
                )
            self._watch(shared)
            if self.ledger is not None:
                self.ledger.write(self.batch, wait=False)
        if (cache := batch.after.cache) is not None:
            self.cache_policy.passed(cache.cache_pass, self.health.shown)

    def metrics(self) -> dict[str, Any]:
        """Of a metrics line."""
        return {
            **shown_metrics(self.health.shown, self.data.tokens_per_second),
            "pseudo_label_confidence_measure": self.config.pseudo_label.filters.confidence,
            "pseudo_labels_dropped": dict(self.dropped),
            "pseudo_labels_kept": len(self.store.kept),
            "pseudo_labels_paused": self.recovery.is_paused,
        }

    # Labels are made.

    def _label(self, micro_batch: MicroBatch, frames: Sequence[int] | None) -> list[Label]:
        """The teacher's labels, judged and noted; with `frames`, also whether this update can use them."""
        found = self.maker.make(micro_batch, self.hours, self.schedule.key, self.store.former)
        places = [self._notes.places[segment] for segment in micro_batch.segments]
        labels = [record.label for record in found]
        if frames is not None:
            labels = [self._usable(*one) for one in zip(labels, frames, strict=True)]
        made = [
            replace(record, place=place, label=label)
            for record, place, label in zip(found, places, labels, strict=True)
        ]
        self._notes.own.made += made
        return labels

    def _usable(self, label: Label, frames: int) -> Label:
        reason = label.dropped or self._unusable(label.tokens, frames)
        return replace(label, dropped=reason) if reason else label

    def _look_up(
        self, micro_batch: MicroBatch, frames: Sequence[int]
    ) -> list[tuple[list[int], list[float], str | None]]:
        """Tokens that are kept, their confidences, and why they are not trained on now; each use is noted."""
        found = []
        for place, segment in enumerate(micro_batch.segments):
            key = self.schedule.key(segment)
            label = self.store.kept.get(key, _UNLABELLED)
            tokens = label.tokens
            lost = Dropped.LOST if place in micro_batch.lost else None
            dropped = lost or label.dropped or self._unusable(tokens, frames[place])
            found.append((tokens, label.confidences, dropped))
            name, use, last = micro_batch.ids[place], max(1, segment.use), segment.is_last_use
            row = LabelUseRecord(key, name, use, label.hours, dropped, last)
            self._notes.own.uses.append(replace(row, place=self._notes.places[segment]))
        return found

    def _unusable(self, tokens: list[int], frames: int) -> Dropped | None:
        """Why a label that is good in itself is not trained on in this update."""
        if not self.maker.can_emit(tokens, frames):
            return Dropped.INFEASIBLE
        return Dropped.PAUSED if self.recovery.is_paused else None

    def _label_a_round(self) -> None:
        """Label the utterances that the schedule chooses, all ranks together.

        In parts that do not depend on the ranks, so that the ledger does not either.
        """
        speech, number = self.data.sets[Kind.UNTRANSCRIBED], self.schedule.rounds_done
        invalidated = [
            key[1] for key, one in self.store.kept.items() if one.dropped == Dropped.INVALIDATED
        ]
        chosen = np.union1d(self.schedule.chosen(len(speech)), np.array(invalidated, np.int64))
        counts, done = LabelCounts(), 0
        for start in range(0, len(chosen), _ROUND_PART):
            segments = [
                Segment(Kind.UNTRANSCRIBED, place, number, seconds, is_trained=False)
                for place in chosen[start : start + _ROUND_PART].tolist()
                for seconds in [float(speech.seconds[place])]
            ]
            limit = self.config.batch.max_seconds_per_micro_batch
            least = self.config.model.least_read_seconds
            slots = split_into_micro_batches(segments, self.ranks.world, limit, None, least)
            self._notes.begin(segments)
            for micro_batch in self.data.read(slots, self.ranks.rank):
                self._label(micro_batch, None)
            for one in self._shared().counts.T:
                counts += LabelCounts(*one.tolist())
            done += len(segments)
            self.say(
                f"{self.hours:8.2f} h  round {number + 1}: {done:,} of {len(chosen):,} utterances labelled"
            )
        self.health.observe(counts)
        self.schedule.round_done(self.hours)

    # Labels are shared, kept and watched.

    @property
    def _judged_by(self) -> tuple[HealthConfig, float]:
        return self.config.pseudo_label.health, self.data.tokens_per_second

    def _shared(self) -> Shared:
        """Keep and note what has been made and used since. A collective."""
        own, key, policy = self._notes.own, self.schedule.key, self.config.pseudo_label
        if self.schedule.has_cache and self.recovery.is_paused:  # they would outlive the pause
            own.made = [
                replace(row, label=replace(row.label, dropped=row.label.dropped or Dropped.PAUSED))
                for row in own.made
            ]
        change = policy.filters.max_change, policy.cache.change_for_replacement
        is_kept, is_remembered = not self.schedule.labels_at_use, any((policy.ledger, *change))
        shared = self._notes.share(self.ranks, self._judged_by, is_kept or is_remembered)
        if is_kept:
            self.store.keep(shared, map(key, shared.labelled), self.hours)
        if is_remembered:
            self.store.remember(shared)
        if self.ledger is not None:
            self.ledger.note_labels(self.batch, own.made, len(shared.places))
            self.ledger.note_uses(self.batch, self.hours, own.uses, shared.uses)
        self.dropped.update(shared.dropped_uses(key) if is_kept else shared.reasons)
        return shared

    def _watch(self, shared: Shared) -> None:
        observed = shared.observed(self.schedule.key)
        rate, was_back = self.data.tokens_per_second, self.recovery.has_rolled_back
        for line in self.recovery.watch(observed, self.hours, self.health, self.store, rate):
            self.say(line)
        if self.recovery.has_rolled_back and not was_back:
            self.teacher.on_rollback()
            self.schedule.on_teacher_rollback()

    # Checkpoints.

    @property
    def _decision(self) -> dict[str, Any]:
        """What the labels depend on besides the teacher. Older checkpoints name no measure: it was `frames`."""
        filters = self.config.pseudo_label.filters
        is_new = filters.min_confidence > 0 and filters.confidence != "frames"
        return {**self.maker.stamp, **({"confidence": filters.confidence} if is_new else {})}

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        policy = self.config.pseudo_label
        return {
            "teacher": policy.teacher,
            "schedule": policy.schedule,
            "action": policy.health.action,
            "capacity_utterances": policy.cache.capacity_utterances,
            "decision": self._decision,
            "is_begun": self.is_begun,
            "rounds": self.schedule.state(),
            "labeller": self.teacher.state(),
            "remedy": self.recovery.state(),
            "replacement": self.cache_policy.state(),
            "health": asdict(self.health),
        }

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """By the name of their file. A collective."""
        return {
            "labels": self.store.tensors() if self.ranks.is_first else {},
            "labeller": self.teacher.tensors(),
            **self.recovery.tensors(),
        }

    def load(
        self, state: Mapping[str, Any], read: Callable[[str], dict[str, Tensor]], folder: Path
    ) -> Iterator[str]:
        """Go on from a checkpoint; yields what a user should know."""
        policy = self.config.pseudo_label
        self.health = LabelHealth.from_state(state["health"])
        store = LabelStore.from_tensors(read("labels"))
        before, now = state["decision"], self._decision
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if changed and state["is_begun"]:
            yield (
                f"{folder} decided its labels otherwise ({', '.join(changed)}); from here on they are decided "
                "as the recipe says now"
            )
        is_same_teacher = state["teacher"] == policy.teacher
        if is_same_teacher:
            self.teacher.load(state["labeller"], read("labeller"), folder)
            self.is_begun = state["is_begun"]
        elif state["is_begun"]:
            yield f"{folder} was labelled by another teacher ({state['teacher']}); labelling restarts"
        if is_same_teacher and state["action"] == policy.health.action:
            self.recovery.load(state["remedy"], read)
        else:  # labels are judged afresh, by whom and as the recipe says now
            self.health.is_ill = False
            self.health.forget_recent()
        if state["schedule"] == policy.schedule:
            self.schedule.load(state["rounds"])
            self.cache_policy.load(state["replacement"])
            self.store = store
            yield from self._about_the_cache(state["capacity_utterances"], folder)
        else:
            self.store.former = store.former
            if state["is_begun"]:
                yield f"{folder} had another schedule of labels ({state['schedule']}); it restarts"

    def _about_the_cache(self, capacity_before: int, folder: Path) -> Iterator[str]:
        now = self.config.pseudo_label.cache.capacity_utterances
        if self.schedule.has_cache and now < capacity_before:
            yield (
                f"{folder} has a cache of {capacity_before} utterances, which stays so; capacity_utterances "
                f"{now} would need a new run"
            )


def no_metrics() -> dict[str, Any]:
    """The same of a supervised run."""
    none = {"pseudo_labels_dropped": {}, "pseudo_labels_kept": 0, "pseudo_labels_paused": False}
    return shown_metrics(LabelCounts(), 1.0) | none | {"pseudo_label_confidence_measure": None}
