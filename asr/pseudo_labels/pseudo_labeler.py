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
import torch
from torch import Tensor

from asr.config.schema import Config
from asr.data.batching import deal
from asr.data.dataloader import MicroBatch, TrainingData
from asr.data.sampler import GlobalBatch
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.model.ctc import is_feasible
from asr.model.features import IDLE_FRAMES
from asr.model.tokenizer import BLANK, Tokenizer
from asr.pseudo_labels.cache_policy import Replacement
from asr.pseudo_labels.decoders import Asked, Decision
from asr.pseudo_labels.filters import Dropped, judge, token_edits, token_error_rate
from asr.pseudo_labels.health import LabelCounts, LabelHealth, shown_figures
from asr.pseudo_labels.label import Label
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.records import LabelRow, UseRow, measured
from asr.pseudo_labels.recovery import Remedy
from asr.pseudo_labels.schedules import Schedule
from asr.pseudo_labels.store import KeptLabel, LabelStore, unpacked
from asr.teacher.teachers import Labeller

_ROUND_PART = 4096
"""Utterances that ranks label before they exchange them."""
_UNLABELLED = KeptLabel(b"", math.nan, str(Dropped.UNLABELLED))

Features = Callable[[tuple[Tensor, Tensor] | None], tuple[Tensor, Tensor]]
"""What was read -> features (B, T, F) and lengths (B,) on the device."""


@dataclass
class Labelling:
    """The labels of one run."""

    config: Config
    tokenizer: Tokenizer
    data: TrainingData
    ranks: Ranks
    labeller: Labeller
    decision: Decision
    schedule: Schedule
    remedy: Remedy
    replacement: Replacement
    features: Features
    say: Callable[[str], None]
    store: LabelStore = field(default_factory=LabelStore)
    health: LabelHealth = field(default_factory=LabelHealth)
    ledger: LabelLedger | None = None
    """The first rank's, while it trains."""
    is_begun: bool = False
    batch: int = 0
    """From 1, as in metrics.jsonl."""
    hours: float = 0.0
    """Of audio, before the batch."""
    _made: list[LabelRow] = field(default_factory=list)
    """This rank's, not yet shared."""
    _uses: list[UseRow] = field(default_factory=list)
    _compared: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Token edits of this rank's student against its labels; their tokens; their number."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Of the batch, over all ranks, by reason."""

    def begin_batch(self, batch: GlobalBatch, number: int, hours: float) -> None:
        """Before anything of a batch is labelled; may label a round. A collective."""
        self.batch, self.hours = number + 1, hours
        self.dropped = Counter()
        if not batch.labels:
            return
        if not self.is_begun:
            self.labeller.begin(hours)
            self.remedy.begin(hours)
            self.is_begun = True
        self.schedule.is_urgent = self.remedy.is_paused
        if self.schedule.is_round_due(hours):
            self._label_a_round()

    def targets(
        self, micro_batch: MicroBatch, student_frames: Sequence[int]
    ) -> tuple[list[list[int]], list[int]]:
        """Tokens of each utterance, and the places of those to train on. A collective where labels are made."""
        if self.schedule.labels_at_use:
            made = self._label(micro_batch, student_frames)
            found = [(label.tokens, label.dropped) for label in made]
        else:
            found = self._look_up(micro_batch, student_frames)
        kept = [place for place, (_, dropped) in enumerate(found) if dropped is None]
        return [tokens for tokens, _ in found], kept

    def only_label(self, micro_batch: MicroBatch) -> None:
        """Label utterances for the cache. A collective under ZeRO 1 to 3."""
        self._label(micro_batch, None)

    def share_labels(self) -> None:
        """Give all ranks the labels that were made for the cache. A collective."""
        if not self.schedule.labels_at_use:
            made, self._made = self.ranks.gather(self._made), []
            self.health.observe(self._take(made))

    def compare(self, paths: Sequence[list[int]], targets: Sequence[list[int]]) -> None:
        """The student's own greedy paths, as it trains, beside the labels."""
        for path, target in zip(paths, targets, strict=True):
            self._compared[0] += token_edits(path, target)
            self._compared[1] += len(target)
            self._compared[2] += 1

    def end_batch(self, batch: GlobalBatch) -> None:
        """Gather what the ranks did; watch. A collective."""
        if batch.labels:
            made, uses = self.ranks.gather(self._made), self.ranks.gather(self._uses)
            edits, tokens, labels = self.ranks.sum([float(n) for n in self._compared])
            self._made, self._uses, self._compared = [], [], [0, 0, 0]
            self.health.observe(self._take(made))
            self._note_uses(uses)
            self.store.let_go(
                self.schedule.key(segment) for segment in batch.segments if segment.is_last_use
            )
            self.health.observe(LabelCounts(disagreements=edits, agreed_on=tokens, uses=labels))
            self._watch()
            if self.ledger is not None:
                self.ledger.write(self.batch, wait=False)
        cache = batch.after.cache
        if cache is not None:
            self.replacement.passed(cache.cache_pass, self.health.shown)

    def figures(self) -> dict[str, Any]:
        """Of a metrics line."""
        return {
            **shown_figures(self.health.shown, self.data.tokens_per_second),
            "pseudo_labels_dropped": dict(self.dropped),
            "pseudo_labels_kept": len(self.store.kept),
            "pseudo_labels_paused": self.remedy.is_paused,
        }

    # Labels are made.

    def _label(self, micro_batch: MicroBatch, frames: Sequence[int] | None) -> list[Label]:
        """The labeller's labels on clean speech, judged and noted."""
        labels = []
        decided = list(self._decided(micro_batch))
        for place, (segment, label) in enumerate(zip(micro_batch.segments, decided, strict=True)):
            former = self.store.former.get(segment.index)
            change = None if former is None else token_error_rate(label.tokens, unpacked(former))
            reason = judge(
                label,
                segment.seconds,
                self.data.tokens_per_second,
                change,
                self.config.pseudo_label.filters,
            )
            label = replace(
                label,
                hours=self.hours,
                teacher_age_hours=self.hours - self.labeller.hours,
                dropped=reason,
            )
            if frames is not None and label.dropped is None:
                label = replace(label, dropped=self._unusable(label.tokens, frames[place]))
            labels.append(label)
            text = self.tokenizer.decode(label.tokens)
            self._made.append(
                LabelRow(
                    self.schedule.key(segment),
                    micro_batch.ids[place],
                    segment.seconds,
                    label,
                    text,
                    change,
                    measured(micro_batch.references[place], text),
                )
            )
        return labels

    @torch.no_grad()
    def _decided(self, micro_batch: MicroBatch) -> Iterator[Label]:
        forward = self.labeller.forward()  # a collective: before a rank without a share turns back
        if not micro_batch.segments:
            if self.labeller.forward_is_collective:
                bins, device = self.config.features.mel_bins, self.ranks.device
                forward(
                    torch.zeros(1, IDLE_FRAMES, bins, device=device),
                    torch.full((1,), IDLE_FRAMES, device=device),
                )
            return
        features = self.features(micro_batch.teacher_input)
        low_precision = self.config.trainer.precision != "fp32"
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=low_precision):
            logits_BSV, lengths_B = forward(*features)
        logits_BSV = _blank_where_not_finite(logits_BSV, lengths_B)
        asked = Asked(micro_batch.segments, micro_batch.references, self.hours)
        yield from self.decision(logits_BSV, lengths_B, asked)

    def _look_up(
        self, micro_batch: MicroBatch, frames: Sequence[int]
    ) -> list[tuple[list[int], str | None]]:
        """Tokens that are kept, and why they are not trained on now; each use is noted."""
        found = []
        for place, segment in enumerate(micro_batch.segments):
            key = self.schedule.key(segment)
            label = self.store.kept.get(key, _UNLABELLED)
            tokens = label.tokens
            dropped = label.dropped or self._unusable(tokens, frames[place])
            found.append((tokens, dropped))
            name, use = micro_batch.ids[place], max(1, segment.use)
            last = segment.is_last_use
            self._uses.append(UseRow(key, name, use, label.hours, dropped, last))
        return found

    def _unusable(self, tokens: list[int], frames: int) -> Dropped | None:
        """Why a label that is good in itself is not trained on in this update."""
        if not is_feasible(tokens, frames):
            return Dropped.INFEASIBLE
        return Dropped.PAUSED if self.remedy.is_paused else None

    def _label_a_round(self) -> None:
        """Label the utterances that the schedule chooses, all ranks together.

        In parts that do not depend on the ranks, so that the ledger does not either.
        """
        speech, number = self.data.sets[Kind.UNTRANSCRIBED], self.schedule.rounds_done
        forgotten = [
            key[1] for key, one in self.store.kept.items() if one.dropped == Dropped.FORGOTTEN
        ]
        chosen = np.union1d(self.schedule.chosen(len(speech)), np.array(forgotten, np.int64))
        counts, done = LabelCounts(), 0
        for start in range(0, len(chosen), _ROUND_PART):
            segments = [
                Segment(Kind.UNTRANSCRIBED, place, number, seconds, is_trained=False)
                for place in chosen[start : start + _ROUND_PART].tolist()
                for seconds in [float(speech.seconds[place])]
            ]
            limit = self.config.batch.max_seconds_per_micro_batch
            slots = deal(segments, self.ranks.world, limit)
            for micro_batch in self.data.read(slots, self.ranks.rank):
                self._label(micro_batch, None)
            made, self._made = self.ranks.gather(self._made), []
            counts += self._take(made)
            done += len(segments)
            self.say(
                f"{self.hours:8.2f} h  round {number + 1}: {done:,} of {len(chosen):,} utterances labelled"
            )
        self.health.observe(counts)
        self.schedule.round_done(self.hours)

    # Labels are shared, kept and watched.

    def _take(self, rows: Sequence[LabelRow]) -> LabelCounts:
        """Labels of all ranks, in an order that does not depend on these; returns what health wants to know."""
        rows = sorted(rows, key=lambda row: row.key)
        if self.schedule.has_cache and self.remedy.is_paused:  # they would outlive the pause
            rows = [
                replace(row, label=replace(row.label, dropped=row.label.dropped or Dropped.PAUSED))
                for row in rows
            ]
        if not self.schedule.labels_at_use:
            self.store.keep(rows)
        policy = self.config.pseudo_label
        if policy.ledger or policy.filters.max_change or policy.cache.change_for_replacement:
            self.store.remember(rows)
        if self.ledger is not None:
            self.ledger.note_labels(self.batch, rows)
        if self.schedule.labels_at_use:
            self.dropped.update(str(row.label.dropped) for row in rows if row.label.dropped)
        return LabelCounts.of(rows, policy.health, self.data.tokens_per_second)

    def _note_uses(self, rows: Sequence[UseRow]) -> None:
        rows = sorted(rows, key=lambda row: (row.key, row.use))
        self.dropped.update(str(row.dropped) for row in rows if row.dropped)
        if self.ledger is not None:
            self.ledger.note_uses(self.batch, self.hours, rows)

    def _watch(self) -> None:
        faults = self.health.faults(self.config.pseudo_label.health, self.data.tokens_per_second)
        was_back = self.remedy.went_back
        for line in self.remedy.treat(faults, self.hours, self.health, self.store):
            self.say(line)
        if self.remedy.went_back and not was_back:
            self.labeller.went_back()
            self.schedule.teacher_went_back()

    # Checkpoints.

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        policy = self.config.pseudo_label
        return {
            "teacher": policy.teacher,
            "schedule": policy.schedule,
            "action": policy.health.action,
            "capacity_utterances": policy.cache.capacity_utterances,
            "decision": dict(self.decision.stamp),
            "is_begun": self.is_begun,
            "rounds": self.schedule.state(),
            "labeller": self.labeller.state(),
            "remedy": self.remedy.state(),
            "replacement": self.replacement.state(),
            "health": asdict(self.health),
        }

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """By the name of their file. A collective."""
        return {
            "labels": self.store.tensors() if self.ranks.is_first else {},
            "labeller": self.labeller.tensors(),
            **self.remedy.tensors(),
        }

    def load(
        self, state: Mapping[str, Any], read: Callable[[str], dict[str, Tensor]], folder: Path
    ) -> Iterator[str]:
        """Go on from a checkpoint; yields what a user should know."""
        policy = self.config.pseudo_label
        self.health = LabelHealth.from_state(state["health"])
        store = LabelStore.from_tensors(read("labels"))
        before, now = state["decision"], dict(self.decision.stamp)
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if changed and state["is_begun"]:
            yield (
                f"{folder} decided its labels otherwise ({', '.join(changed)}); from here on they are decided "
                "as the recipe says now"
            )
        is_same_teacher = state["teacher"] == policy.teacher
        if is_same_teacher:
            self.labeller.load(state["labeller"], read("labeller"), folder)
            self.is_begun = state["is_begun"]
        elif state["is_begun"]:
            yield f"{folder} was labelled by another teacher ({state['teacher']}); it begins anew"
        if is_same_teacher and state["action"] == policy.health.action:
            self.remedy.load(state["remedy"], read)
        else:  # labels are judged anew, by whom and as the recipe says now
            self.health.is_ill = False
            self.health.forget_recent()
        if state["schedule"] == policy.schedule:
            self.schedule.load(state["rounds"])
            self.replacement.load(state["replacement"])
            self.store = store
            yield from self._about_the_cache(state["capacity_utterances"], folder)
        else:
            self.store.former = store.former
            if state["is_begun"]:
                yield f"{folder} had another schedule of labels ({state['schedule']}); it begins anew"

    def _about_the_cache(self, capacity_before: int, folder: Path) -> Iterator[str]:
        now = self.config.pseudo_label.cache.capacity_utterances
        if self.schedule.has_cache and now < capacity_before:
            yield (
                f"{folder} has a cache of {capacity_before} utterances, which stays so; capacity_utterances "
                f"{now} would need a new run"
            )


def _blank_where_not_finite(logits_BSV: Tensor, lengths_B: Tensor) -> Tensor:
    """An utterance of which the labeller makes NaN or infinity says nothing: its label is empty."""
    is_padding_BS = (
        torch.arange(logits_BSV.shape[1], device=logits_BSV.device) >= lengths_B[:, None]
    )
    is_sound_B = (logits_BSV.isfinite().all(dim=-1) | is_padding_BS).all(dim=-1)
    if bool(is_sound_B.all()):
        return logits_BSV
    silence_V = torch.zeros_like(logits_BSV[0, 0])
    silence_V[BLANK] = 100.0
    return torch.where(is_sound_B[:, None, None], logits_BSV, silence_V)


def no_figures() -> dict[str, Any]:
    """The same of a supervised run."""
    none = {"pseudo_labels_dropped": {}, "pseudo_labels_kept": 0, "pseudo_labels_paused": False}
    return {**shown_figures(LabelCounts(), 1.0), **none}
