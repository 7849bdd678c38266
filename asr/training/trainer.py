"""The loop around the engine: batches in, steps out, and whatever is due by the audio clock."""

from __future__ import annotations

import math
import signal
import time
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from asr.config.schema import Config
from asr.data.dataloader import RankBatch, TrainingData
from asr.data.dataset import SpeechSet
from asr.data.manifest.index import MANIFEST_SUFFIX
from asr.data.sampler import Position
from asr.data.segments import Kind
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.model.acoustic_model import AcousticModel, Forward
from asr.model.features import LogMel
from asr.model.tokenizer import make_tokenizer
from asr.pseudo_labels.factory import make_mechanisms
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.pseudo_labeler import Labelling, no_figures
from asr.scaling.card import scaling_card
from asr.scaling.clock import AudioClock, TeacherSchedule, crossed, learning_rate_share
from asr.scaling.rule import SECONDS_PER_HOUR, in_force, kappa_of
from asr.teacher.ema import Teacher
from asr.teacher.teachers import Models
from asr.tracking.metric_logger import RunLog
from asr.tracking.scaling_history import note_card
from asr.training.checkpoint import Checkpoint, CheckpointStore, damaged, read_checkpoint
from asr.training.noise_scale import GradientNoiseScale
from asr.training.train_step import Tally, Updater
from asr.training.validation import evaluate


class Trainer:
    """One run on these ranks, from wherever its last checkpoint stands."""

    def __init__(self, config: Config, ranks: Ranks) -> None:
        """Build everything and restore the state. Raises UserError for what the user can mend."""
        self.config, self.ranks = config, ranks
        self.run = Path(config.output)
        self.tokenizer = make_tokenizer(config.tokenizer)
        mechanisms = make_mechanisms(config, self.tokenizer)
        of_labels = mechanisms.of_the_data if mechanisms else {}
        self.data = TrainingData(config, self.tokenizer, **of_labels)
        directory = Path(config.corpus.directory)
        self.dev = [
            SpeechSet.load(directory / f"{name}{MANIFEST_SUFFIX}").at_rate(
                config.features.sample_rate_hz
            )
            for name in config.corpus.dev
        ]
        self.store = CheckpointStore(self.run, config.trainer.keep_last)
        self.resumed_from = self._source()
        torch.manual_seed(config.seed)
        student = self._new_network()
        labeller = deepcopy(student)
        saved = None
        if self.resumed_from is not None:
            saved = read_checkpoint(self.resumed_from, config, student)
            self._check_corpora(self.resumed_from, saved.state)
        drawn_seconds = saved.state["position"]["seconds"] if saved else 0.0
        self.batch_seconds = config.global_batch_seconds(
            ranks.world, drawn_seconds / SECONDS_PER_HOUR
        )
        self.engine = Engine(student, config, in_force(config, self.batch_seconds), ranks)
        self.teacher = Teacher(labeller, self.engine.shards, ranks)
        self.log_mel = LogMel(config.features).to(ranks.device)
        self.updater = Updater(config, self.engine, self.log_mel, ranks)
        if mechanisms is not None:
            models = Models(config, self.engine, self.teacher, ranks, self._new_network)
            self.updater.labelling = mechanisms.labelling(
                models, self.data, self.updater.features, self._say
            )

        self.clock = AudioClock()
        self.schedule = TeacherSchedule.for_batch(config, self.batch_seconds)
        self.position = Position()
        self.noise_scale = GradientNoiseScale()
        self.batches_drawn = 0
        self.non_finite = 0
        self.skipped_updates = 0
        self.dev_wer: float | None = None
        self._stop_signal = 0.0
        self.log: RunLog | None = None
        self.notes = [*self.data.notes]
        if saved is not None:
            saved.put(self.engine, self.teacher)
            self._set_state(saved)

    def _new_network(self) -> AcousticModel:
        bins, vocabulary = self.config.features.mel_bins, self.tokenizer.vocabulary_size
        return AcousticModel(bins, vocabulary, self.config.model)

    @property
    def labelling(self) -> Labelling | None:
        """None in a supervised run."""
        return self.updater.labelling

    def _source(self) -> Path | None:
        """The checkpoint to go on from: the run's latest, or the one it forks from."""
        latest = self.store.latest()
        if latest is not None or self.config.fork_from is None:
            return latest
        source = Path(self.config.fork_from)
        if not (source / "state.json").is_file():
            raise UserError(
                f"fork_from: {source} is not a checkpoint", "name EXP/checkpoints/hours-..."
            )
        return source

    def _set_state(self, saved: Checkpoint) -> None:
        state = saved.state
        # Of the kappa that the checkpoint knew. The first batch finds out if it has changed.
        self.batch_seconds = state["batch_seconds"]
        self.clock = AudioClock(**state["clock"])
        self.position = Position.from_state(state["position"])
        self.noise_scale = GradientNoiseScale(**state["noise_scale"])
        self.schedule.pending_seconds = state["teacher_pending_seconds"]
        self.batches_drawn = state["batches_drawn"]
        self.non_finite = state["non_finite"]
        self.skipped_updates = state.get("skipped_updates", 0)
        self.dev_wer = state["dev_wer"]
        labels = state.get("labelling")
        if self.labelling is None or labels is None:
            self.position = replace(self.position, cache=None)
            return
        try:
            self.notes += self.labelling.load(labels, saved.extra, saved.folder)
        except (KeyError, OSError, RuntimeError) as error:
            raise damaged(saved.folder, error) from error
        if labels["schedule"] != self.config.pseudo_label.schedule:
            self.position = replace(self.position, cache=None)

    def _check_corpora(self, source: Path, state: dict[str, Any]) -> None:
        """A data position means something only in the corpora in which it was reached."""
        drawn = {
            kind
            for kind in Kind
            if state["position"][f"{kind}_pass"] or state["position"][f"{kind}_group"]
        }
        for kind, fingerprint in self.data.fingerprints.items():
            before = state["corpora"].get(kind)
            if kind in drawn and before is not None and before != fingerprint:
                raise UserError(
                    f"{source}: cannot be continued with other utterances in corpus.{kind} (ids, "
                    "durations, corpus.min_seconds or max_seconds changed)",
                    "restore them, or give the new run another output folder",
                )

    def _state(self, dev_wer: float | None) -> dict[str, Any]:
        return {
            "clock": asdict(self.clock),
            "position": asdict(self.position),
            "noise_scale": asdict(self.noise_scale),
            "teacher_pending_seconds": self.schedule.pending_seconds,
            "batches_drawn": self.batches_drawn,
            "non_finite": self.non_finite,
            "skipped_updates": self.skipped_updates,
            "dev_wer": dev_wer,
            "corpora": self.data.fingerprints,
            "labelling": self.labelling.state() if self.labelling else None,
            "ranks": self.ranks.world,
            "batch_seconds": self.batch_seconds,
        }

    @property
    def is_complete(self) -> bool:
        return self.clock.hours >= self.config.trainer.total_hours

    def train(self) -> bool:
        """Train to the end, or to a SIGTERM or SIGINT. True at the end, False where stopped."""
        handlers = {s: signal.signal(s, self._note_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        self.log = self._open_log()
        if self.labelling is not None and self.ranks.is_first and self.config.pseudo_label.ledger:
            self.labelling.ledger = LabelLedger(self.run, self.batches_drawn)
        try:
            batches = self.data.batches(self.position, self.ranks.rank, self.ranks.world)
            while not self.is_complete:
                started = time.perf_counter()
                batch = next(batches)
                if self._update(batch, started):
                    self._checkpoint(None)
                    return False
            return True
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if self.log:
                self.log.close()

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_signal = float(number)
        self._say(f"{signal.Signals(number).name}: saving after this update, then stopping")

    def _open_log(self) -> RunLog | None:
        if not self.ranks.is_first:
            return None
        return RunLog(
            self.run,
            self.clock,
            self.batches_drawn,
            self.config.trainer.total_hours,
            self.config.trainer.utterance_ledger,
        )

    def _say(self, text: str) -> None:
        if self.log is not None:
            self.log.say(text)

    def _update(self, batch: RankBatch, started: float) -> bool:
        """One global batch, asked for at `started`; True if somebody asked to stop."""
        waited = time.perf_counter() - started
        before_hours = self.clock.hours
        middle_hours = before_hours + batch.batch.seconds / 7200
        if batch.nominal_seconds != self.batch_seconds:
            self._change_batch(batch.nominal_seconds)
        self._enter_phase(before_hours)
        share = learning_rate_share(
            self.config.optimizer, self.config.trainer.total_hours, middle_hours
        )
        learning_rate = self.engine.set_learning_rate(share)
        own = self.updater.accumulate(batch, self.batches_drawn, before_hours)
        own.wait_seconds += waited
        tally = own.summed(self.ranks)
        self._count_non_finite(own, tally)
        momentum = None
        if self.engine.step():
            self.clock.advance(batch.batch.seconds)
            momentum = self.schedule.consume(batch.batch.seconds)
            if momentum is not None:
                self.teacher.update(momentum)
            if self.labelling is not None:
                self.labelling.labeller.stepped(self.clock.hours, momentum is not None)
        else:
            self._count_skipped()
        self.batches_drawn += 1
        self.position = batch.batch.after
        self._observe_noise(batch, tally)
        self._record(batch, tally, learning_rate, momentum, time.perf_counter() - started)
        self._do_what_is_due(before_hours)
        return self.ranks.sum([self._stop_signal])[0] > 0

    def _change_batch(self, batch_seconds: float) -> None:
        """The rule for another batch, from the clock's position on; always from the reference."""
        config, before = self.config, self.batch_seconds
        growth = 1.0 if config.scaling.rule == "none" else batch_seconds / before
        policy = config.scaling.second_moment
        self.engine.change_batch(in_force(config, batch_seconds), growth, policy)
        self.schedule = replace(
            TeacherSchedule.for_batch(config, batch_seconds),
            pending_seconds=self.schedule.pending_seconds,
        )
        self.batch_seconds = batch_seconds
        self._say(
            f"{self.clock.hours:8.2f} h  batch {before:g} -> {batch_seconds:g} s, kappa "
            f"{kappa_of(config, before):g} -> {kappa_of(config, batch_seconds):g}; Adam's second moment: "
            f"{policy}"
        )
        if self.ranks.is_first:
            card = scaling_card(config, self.ranks.world, self.position.seconds / SECONDS_PER_HOUR)
            note_card(self.run, {**card, "from_hours": self.clock.hours})

    def _observe_noise(self, batch: RankBatch, tally: Tally) -> None:
        trained = tally.trained_seconds
        if trained > 0 and math.isfinite(self.engine.gradient_norm):
            # The loss is divided by all audio, that of dropped labels included.
            large = (self.engine.gradient_norm * batch.batch.seconds / trained) ** 2
            self.noise_scale.observe(
                tally.micro_batch_squares / trained,
                large,
                int(tally.micro_batches),
                trained,
                self.config.scaling.reference_batch_seconds,
            )

    def _enter_phase(self, hours: float) -> None:
        start = self.config.pseudo_label.start_hours
        if start is None or hours < start:
            return
        policy, model = self.config.pseudo_label, self.config.model
        self.engine.student.set_dropout(
            model.dropout if policy.dropout is None else policy.dropout,
            model.layer_drop if policy.layer_drop is None else policy.layer_drop,
        )

    def _count_non_finite(self, own: Tally, tally: Tally) -> None:
        """Name, count, and beyond the limit stop, before a step is spoilt."""
        if not tally.non_finite:
            return
        names = ", ".join(self.ranks.gather(own.non_finite_ids))
        self._say(f"NaN or infinite loss, left out of update {self.batches_drawn + 1}: {names}")
        self.non_finite += int(tally.non_finite)
        self._stop_beyond_limit(
            self.non_finite,
            f"utterances had a NaN or infinite loss (last: {names})",
            "lower optimizer.learning_rate or look at that audio",
        )

    def _count_skipped(self) -> None:
        """A step that the engine did not apply: nothing moves, neither clock nor teacher."""
        self.skipped_updates += 1
        self._say(f"update {self.batches_drawn + 1} skipped: its gradient is not finite")
        self._stop_beyond_limit(
            self.skipped_updates,
            "updates had a gradient that is not finite",
            "lower optimizer.learning_rate, or clip gradients (optimizer.max_gradient_norm)",
        )

    def _stop_beyond_limit(self, count: int, what: str, remedy: str) -> None:
        limit = self.config.trainer.non_finite_limit
        if count > limit:
            raise UserError(
                f"{count} {what}, more than trainer.non_finite_limit={limit}, at "
                f"{self.clock.hours:.2f} h; {remedy}",
                f"the last checkpoint in {self.store.folder} is untouched",
            )

    def _record(
        self,
        batch: RankBatch,
        tally: Tally,
        learning_rate: float,
        momentum: float | None,
        wall_seconds: float,
    ) -> None:
        if self.log is None:
            return
        loss = tally.loss_labelled + tally.loss_pseudo_labelled
        record = {
            "step": self.clock.steps,
            "batch": self.batches_drawn,
            "hours": self.clock.hours,
            "kappa": kappa_of(self.config, self.batch_seconds),
            "learning_rate": learning_rate,
            "teacher_momentum": momentum,
            "loss": loss / batch.batch.seconds,
            "loss_labelled": _per_second(tally.loss_labelled, tally.labelled_seconds),
            "loss_pseudo_labelled": _per_second(
                tally.loss_pseudo_labelled, tally.pseudo_labelled_seconds
            ),
            "gradient_norm": _finite(self.engine.gradient_norm),
            "micro_batches": int(tally.micro_batches),
            "gradient_noise_scale_seconds": self.noise_scale.seconds,
            "batch_seconds": batch.batch.seconds,
            "pseudo_labelled_share": tally.pseudo_labelled_seconds
            / max(1e-9, tally.trained_seconds),
            **(self.labelling.figures() if self.labelling else no_figures()),
            "infeasible_transcripts": int(tally.infeasible_transcripts),
            "non_finite": self.non_finite,
            "skipped_updates": self.skipped_updates,
            "padding_share": batch.padding_share,
            "data_wait_share": round(tally.wait_seconds / self.ranks.world / wall_seconds, 3),
        }
        ids: dict[str, list[str]] = {str(kind): [] for kind in Kind}
        if self.config.trainer.utterance_ledger:  # an id is read from the manifest
            for segment in batch.batch.segments:
                if segment.is_trained:
                    ids[segment.kind].append(self.data.utterance_id(segment))
        self.log.training(record, ids, batch.batch.seconds / wall_seconds)

    def _do_what_is_due(self, before_hours: float) -> None:
        trainer = self.config.trainer
        last = self.is_complete
        saving = last or crossed(before_hours, self.clock.hours, trainer.checkpoint_every_hours)
        if saving or crossed(before_hours, self.clock.hours, trainer.evaluation_every_hours):
            self._evaluate()
        if saving:
            self._checkpoint(self.dev_wer)

    def _evaluate(self) -> None:
        """Student and teacher on every dev set; the teacher's mean WER picks the best checkpoint."""
        models: dict[str, Forward] = {
            "student": self.engine.evaluate,
            "teacher": self.teacher.model(),
        }
        distance = self.teacher.distance()
        wers: dict[str, list[float]] = {model: [] for model in models}
        for speech in self.dev:
            for model, forward in models.items():
                figures = evaluate(forward, speech, self.log_mel, self.tokenizer, self.ranks)
                wers[model].append(figures.wer)
                if self.log:
                    self.log.evaluation(
                        {
                            "step": self.clock.steps,
                            "batch": self.batches_drawn,
                            "hours": self.clock.hours,
                            "set": speech.name,
                            "model": model,
                            **asdict(figures),
                            "teacher_student_distance": distance,
                        }
                    )
        self.dev_wer = _mean(wers["teacher"])
        if self.labelling is not None:
            self.labelling.labeller.evaluated(self.clock.hours, _mean(wers["student"]))

    def _checkpoint(self, dev_wer: float | None) -> None:
        labelling = self.labelling
        if self.log:
            self.log.flush_to_disk()
        if labelling is not None and labelling.ledger is not None:
            labelling.ledger.write(self.batches_drawn)
        folder = self.store.save(
            self.engine,
            self.teacher,
            self.tokenizer,
            self.config,
            self._state(dev_wer),
            self.ranks,
            labelling.tensors() if labelling else {},
            labelling.labeller.files() if labelling else [],
        )
        self._say(f"{self.clock.hours:8.2f} h  saved {folder}")


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _per_second(loss: float, seconds: float) -> float | None:
    return loss / seconds if seconds > 0 else None
