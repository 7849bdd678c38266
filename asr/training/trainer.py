"""The loop around the engine: batches in, steps out, and whatever is due by the audio clock."""

from __future__ import annotations

import math
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import torch

from asr.config.schema import Config
from asr.data.dataloader import RankBatch, TrainingData
from asr.data.dataset import load_dev_sets
from asr.data.segments import Kind
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.model.acoustic_model import AcousticModel, Forward, make_model
from asr.model.features import FeatureExtractor, LogMel
from asr.model.tokenizer import make_tokenizer
from asr.pseudo_labels.factory import make_factory
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler, no_metrics
from asr.scaling.card import scaling_card
from asr.scaling.clock import crossed, learning_rate_share
from asr.scaling.rule import SECONDS_PER_HOUR, in_force, kappa_of
from asr.scaling.second_moment import second_moment_factor
from asr.teacher.teachers import TeacherContext
from asr.tracking.metric_logger import RunInfo
from asr.tracking.run_log import RunLog, logger_class
from asr.tracking.scaling_history import note_card
from asr.training.batch_stats import BatchStats
from asr.training.checkpoint import Checkpoint, CheckpointStore, damaged, read_checkpoint
from asr.training.post_hoc import make_averages
from asr.training.records import Update
from asr.training.resume_rules import check_corpora
from asr.training.state import TrainingState
from asr.training.train_step import TrainStep
from asr.training.validation import evaluate

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Trainer:
    """One run on these ranks, from wherever its last checkpoint stands."""

    def __init__(self, config: Config, ranks: Ranks, shows: bool = False) -> None:
        """Build everything and restore the state; `shows` progress on the terminal.

        Raises UserError for what the user can fix.
        """
        self.config, self.ranks, self.shows = config, ranks, shows
        self.run = Path(config.output)
        self.logger_classes = [logger_class(name) for name in config.trainer.loggers]
        self.tokenizer = make_tokenizer(config.tokenizer)
        factory = make_factory(config, self.tokenizer)
        self.data = TrainingData(
            config, self.tokenizer, **(factory.data_options if factory else {})
        )
        self.dev = load_dev_sets(config)
        self.store = CheckpointStore(self.run, config.trainer.keep_last)
        self.resumed_from = self.store.to_resume(config.fork_from)
        torch.manual_seed(config.seed)
        student = self._new_network()
        saved = None
        if self.resumed_from is not None:
            saved = read_checkpoint(self.resumed_from, config, student)
            check_corpora(self.resumed_from, saved.state, self.data.fingerprints)
        drawn_seconds = saved.state["position"]["seconds"] if saved else 0.0
        batch_seconds = config.global_batch_seconds(ranks.world, drawn_seconds / SECONDS_PER_HOUR)
        self.engine = Engine(student, config, in_force(config, batch_seconds), ranks)
        self.averages = make_averages(config, self._new_network, self.engine.shards, ranks)
        is_stored = config.features.source == "precomputed"
        self.features = FeatureExtractor(LogMel(config.features), is_stored, ranks.device)
        self.labeler: PseudoLabeler | None = None
        """None in a supervised run."""
        if factory is not None:
            models = TeacherContext(config, self.engine, self.averages, ranks, self._new_network)
            self.labeler = factory.make(models, self.data, self.features, self._say)
        self.train_step = TrainStep(config, self.engine, self.features, ranks, self.labeler)
        self.state = TrainingState.at_the_start(config, batch_seconds)
        self.log: RunLog | None = None
        self.notes = [*self.data.notes]
        self._stop_signal = 0.0
        if saved is not None:
            self.notes += saved.put(self.engine, self.averages)
            self.notes += self.state.restore(saved.state)
            self._restore_labels(saved)

    def _new_network(self) -> AcousticModel:
        return make_model(self.config, self.tokenizer.vocabulary_size)

    def _restore_labels(self, saved: Checkpoint) -> None:
        labels = saved.state.get("labelling")
        if self.labeler is None or labels is None:
            self.state.forget_cache()
            return
        try:
            self.notes += self.labeler.load(labels, saved.extra, saved.folder)
        except (KeyError, OSError, RuntimeError) as error:
            raise damaged(saved.folder, error) from error
        if labels["schedule"] != self.config.pseudo_label.schedule:
            self.state.forget_cache()

    @property
    def is_complete(self) -> bool:
        return self.state.clock.hours >= self.config.trainer.total_hours

    def train(self) -> bool:
        """Train to the end, or to a SIGTERM or SIGINT. True at the end, False where stopped."""
        handlers = {}
        if threading.current_thread() is threading.main_thread():  # Python allows it there alone
            handlers = {s: signal.signal(s, self._note_signal) for s in _STOP_SIGNALS}
        try:
            self._open_logs()
            for note in self.averages.begin(self.state.clock.hours):
                self._say(note)
            batches = self.data.batches(self.state.position, self.ranks.rank, self.ranks.world)
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

    def _open_logs(self) -> None:
        """On the first rank: what a killed run logged after its checkpoint is dropped."""
        if not self.ranks.is_first:
            return
        clock, batches = self.state.clock, self.state.batches_drawn
        settings = self.config.model_dump(mode="json")
        run = RunInfo(self.run, self.config.name, settings, clock.hours, clock.steps, batches)
        self.log = RunLog(run, self.logger_classes, self.shows)
        if self.labeler is not None and self.config.pseudo_label.ledger:
            self.labeler.ledger = LabelLedger(self.run, batches)

    def _say(self, text: str) -> None:
        if self.log is not None:
            self.log.say(text)

    def _update(self, batch: RankBatch, started: float) -> bool:
        """One global batch, asked for at `started`; True if somebody asked to stop."""
        waited = time.perf_counter() - started
        state, seconds = self.state, batch.batch.seconds
        before_hours = state.clock.hours
        middle_hours = before_hours + seconds / 7200
        if batch.nominal_seconds != state.batch_seconds:
            self._change_batch(batch.nominal_seconds)
        self._enter_phase(before_hours)
        self.engine.enter(before_hours)
        total_hours = self.config.trainer.total_hours
        share = learning_rate_share(self.config.optimizer, total_hours, middle_hours)
        learning_rate = self.engine.set_learning_rate(share)
        own = self.train_step.accumulate(batch, state.batches_drawn, before_hours)
        own.wait_seconds += waited
        stats = own.summed(self.ranks)
        self._count_non_finite(own, stats)
        teacher_update = None
        if self.engine.step():
            state.clock.advance(seconds)
            state.note_gradient_norm(self.engine.gradient_norm)
            teacher_update = state.schedule.consume(seconds, state.clock.hours)
            if teacher_update is not None:
                self.averages.update(
                    teacher_update.momentum,
                    teacher_update.evaluation_momentum,
                    (teacher_update.from_hours, teacher_update.to_hours),
                )
            if self.labeler is not None:
                self.labeler.teacher.stepped(state.clock.hours, teacher_update is not None)
        else:
            self._count_skipped()
        state.batches_drawn += 1
        state.position = batch.batch.after
        self._observe_gradient(seconds)
        wall_seconds = time.perf_counter() - started
        wait_share = stats.wait_seconds / self.ranks.world / wall_seconds
        norm, padding = self.engine.gradient_norm, batch.padding_share
        update = Update(seconds, stats, learning_rate, teacher_update, norm, padding, wait_share)
        self._record(batch, update, wall_seconds)
        self._do_what_is_due(before_hours)
        return self.ranks.sum([self._stop_signal])[0] > 0

    def _change_batch(self, batch_seconds: float) -> None:
        """The rule for another batch, from the clock's position on; always from the reference."""
        config, before = self.config, self.state.batch_seconds
        hours, growth = self.state.clock.hours, batch_seconds / before
        values, policy = in_force(config, batch_seconds, hours), config.scaling.second_moment
        if config.scaling.rule == "none":
            policy = "keep"  # to the optimizer nothing has changed
        # Of a run that is resumed the engine knows the new values alone.
        formerly = in_force(config, before, hours).max_gradient_norm
        norms = self.state.gradient_norms
        factor = second_moment_factor(norms, growth, formerly, values.max_gradient_norm)
        self.engine.change_batch(values, policy, growth, factor)
        self.state.change_batch(config, batch_seconds)
        self._say(
            f"{hours:8.2f} h  batch {before:g} -> {batch_seconds:g} s, kappa "
            f"{kappa_of(config, before):g} -> {kappa_of(config, batch_seconds):g}; Adam's second moment: "
            f"{policy}" + (f" by {factor:.3g}" if policy == "rescale" else "")
        )
        if self.ranks.is_first:
            drawn_hours = self.state.position.seconds / SECONDS_PER_HOUR
            card = scaling_card(config, self.ranks.world, drawn_hours)
            note_card(self.run, {**card, "from_hours": hours})

    def _observe_gradient(self, seconds: float) -> None:
        """For what the metrics say of the rule's assumptions."""
        norm, threshold = self.engine.gradient_norm, self.engine.values.max_gradient_norm
        reference_seconds = self.config.scaling.reference_batch_seconds
        self.state.clipped.observe(norm, threshold, seconds, reference_seconds)
        if self.train_step.measured is not None and math.isfinite(norm):
            self.state.noise_scale.observe(self.train_step.measured)

    def _enter_phase(self, hours: float) -> None:
        start = self.config.pseudo_label.start_hours
        if start is None or hours < start:
            return
        policy, model = self.config.pseudo_label, self.config.model
        self.engine.student.encoder.set_dropout(
            model.dropout if policy.dropout is None else policy.dropout,
            model.layer_drop if policy.layer_drop is None else policy.layer_drop,
        )

    def _count_non_finite(self, own: BatchStats, stats: BatchStats) -> None:
        """Name, count, and beyond the limit stop, before a step is spoilt."""
        if not stats.non_finite:
            return
        names, state = ", ".join(self.ranks.gather(own.non_finite_ids)), self.state
        self._say(f"NaN or infinite loss, left out of update {state.batches_drawn + 1}: {names}")
        state.non_finite += int(stats.non_finite)
        self._stop_beyond_limit(
            state.non_finite,
            f"utterances had a NaN or infinite loss (last: {names})",
            "lower optimizer.learning_rate or look at that audio",
        )

    def _count_skipped(self) -> None:
        """A step that the engine did not apply: nothing moves, neither clock nor teacher."""
        self.state.skipped_updates += 1
        self._say(f"update {self.state.batches_drawn + 1} skipped: its gradient is not finite")
        self._stop_beyond_limit(
            self.state.skipped_updates,
            "updates had a gradient that is not finite",
            "lower optimizer.learning_rate, or clip gradients (optimizer.max_gradient_norm)",
        )

    def _stop_beyond_limit(self, count: int, what: str, remedy: str) -> None:
        limit = self.config.trainer.non_finite_limit
        if count > limit:
            raise UserError(
                f"{count} {what}, more than trainer.non_finite_limit={limit}, at "
                f"{self.state.clock.hours:.2f} h",
                f"{remedy}; the last checkpoint in {self.store.folder} is untouched",
            )

    def _record(self, batch: RankBatch, update: Update, wall_seconds: float) -> None:
        if self.log is not None:
            label_metrics = self.labeler.metrics() if self.labeler else no_metrics()
            record = update.record(self.config, self.state, label_metrics)
            self.log.training(record, self._ids(batch), update.seconds / wall_seconds)

    def _ids(self, batch: RankBatch) -> dict[str, list[str]]:
        """Of the utterances that were trained on, by kind, where the ledger wants them."""
        ids: dict[str, list[str]] = {str(kind): [] for kind in Kind}
        if self.config.trainer.utterance_ledger:  # an id is read from the manifest
            for segment in batch.batch.segments:
                if segment.is_trained:
                    ids[segment.kind].append(self.data.utterance_id(segment))
        return ids

    def _do_what_is_due(self, before_hours: float) -> None:
        trainer, hours = self.config.trainer, self.state.clock.hours
        saving = self.is_complete or crossed(before_hours, hours, trainer.checkpoint_every_hours)
        if saving or crossed(before_hours, hours, trainer.evaluation_every_hours):
            self._evaluate()
        if saving:
            self._checkpoint(self.state.dev_wer)

    def _evaluate(self) -> None:
        """Student and teacher on every dev set; the teacher's mean WER picks the best checkpoint."""
        models: dict[str, Forward] = {
            "student": self.engine.evaluate,
            "teacher": self.averages.shipped.model(),
        }
        distance = self.averages.shipped.distance()
        front_end = self.features.front_end
        wers: dict[str, list[float]] = {model: [] for model in models}
        for speech in self.dev:
            for model, forward in models.items():
                metrics = evaluate(forward, speech, front_end, self.tokenizer, self.ranks)
                wers[model].append(metrics.wer)
                if self.log:
                    place = {**self.state.place(), "set": speech.name, "model": model}
                    record = {**place, **asdict(metrics), "teacher_student_distance": distance}
                    self.log.evaluation(record)
        self.state.dev_wer = _mean(wers["teacher"])
        if self.labeler is not None:
            self.labeler.teacher.evaluated(self.state.clock.hours, _mean(wers["student"]))

    def _checkpoint(self, dev_wer: float | None) -> None:
        labeler = self.labeler
        if self.log:
            self.log.flush_to_disk()
        if labeler is not None and labeler.ledger is not None:
            labeler.ledger.write(self.state.batches_drawn)
        state = {
            **self.state.to_json(),
            "averages": self.averages.state(),
            "dev_wer": dev_wer,
            "corpora": self.data.fingerprints,
            "labelling": labeler.state() if labeler else None,
            "ranks": self.ranks.world,
            "batch_seconds": self.state.batch_seconds,
        }
        amid_interval = self.state.schedule.pending_seconds > 0
        extras = self.averages.tensors(amid_interval) | (labeler.tensors() if labeler else {})
        folder = self.store.save(
            self.engine,
            self.averages.shipped,
            self.tokenizer,
            self.config,
            state,
            self.ranks,
            extras,
            labeler.teacher.files() if labeler else [],
        )
        self._say(f"{self.state.clock.hours:8.2f} h  saved {folder}")


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
