"""The loop around the engine: batches in, steps out, and whatever is due by the audio clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from asr.config.schema import Config
from asr.data.dataloader import RankBatch, TrainingData
from asr.data.transcripts import training_tokenizer
from asr.distributed.agreement import together
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.errors import CollapseError
from asr.model.make import make_extractors, make_trained_model
from asr.model.speech_model import SpeechModel
from asr.pseudo_labels.factory import make_factory
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler, no_metrics
from asr.scaling.card import batch_change
from asr.scaling.clock import crossed
from asr.scaling.rule import SECONDS_PER_HOUR, in_force
from asr.scaling.second_moment import second_moment_factor
from asr.teacher.teachers import TeacherContext
from asr.tracking.metric_logger import RunInfo
from asr.tracking.run_log import RunLog, logger_classes
from asr.training.checkpoint import Checkpoint, CheckpointStore, damaged, read_checkpoint
from asr.training.guards.audio_store import StoreGuard
from asr.training.guards.label_guard import LabelGuard, label_guard_metrics
from asr.training.guards.lost_audio import LostAudioGuard
from asr.training.guards.non_finite import NonFinite
from asr.training.objectives.kinds import make_dev_sets, make_objective
from asr.training.post_hoc import make_averages
from asr.training.records import Update, note_card_in_force
from asr.training.regularisation import enter_phase
from asr.training.resume_rules import check_corpora
from asr.training.start.agreed import agreed_checkpoint
from asr.training.start.warm_start import is_whole_model, warm_start_of
from asr.training.state import TrainingState
from asr.training.train_step import TrainStep
from asr.training.validation.dev_sets import DevMetrics, mean_score
from asr.training.validation.texts import TextDevSets
from asr.utils.signals import StopRequest


class Trainer:
    """One run on these ranks, from wherever its last checkpoint stands."""

    def __init__(self, config: Config, ranks: Ranks, shows: bool = False) -> None:
        """Build everything and restore the state; `shows` progress on the terminal.

        Raises UserError for what the user can fix.
        """
        self.config, self.ranks, self.shows = config, ranks, shows
        self.run = Path(config.output)
        self.store = CheckpointStore(self.run, config.trainer.keep_last)
        self.resumed_from = agreed_checkpoint(self.store, config.fork_from, ranks)
        saved: Checkpoint | None = None
        with together(ranks):
            self.loggers = logger_classes(config.tracking.loggers) if ranks.is_first else []
            self.tokenizer = training_tokenizer(config, self.resumed_from)
            factory = make_factory(config, self.tokenizer)
            options = factory.data_options if factory else {}
            self.data = TrainingData(config, self.tokenizer, **options)
            torch.manual_seed(config.seed)
            student = self._network(with_weights=self.resumed_from is None)
            if self.resumed_from is not None:
                saved = read_checkpoint(self.resumed_from, config, student)
                fingerprints = self.data.fingerprints
                self.data.notes += check_corpora(self.resumed_from, saved.state, fingerprints)
            warm_start = warm_start_of(config)
            begins_with = warm_start.put(student, self.tokenizer) if warm_start else None
        drawn_hours = saved.state["position"]["seconds"] / SECONDS_PER_HOUR if saved else 0.0
        batch_seconds = config.global_batch_seconds(ranks.world, drawn_hours)
        values = in_force(config, batch_seconds)
        self.engine = Engine(student, config, values, ranks, self._new_network)
        self.averages = make_averages(config, self._new_network, self.engine.shards, ranks)
        encoder = self.engine.student.encoder
        with together(ranks):
            self.features, read_features = make_extractors(config, encoder, ranks.device)
            self.dev = make_dev_sets(config, read_features.front_end, self.tokenizer, ranks)
        models = TeacherContext(config, self.engine, self.averages, ranks, self._new_network)
        self.labeler: PseudoLabeler | None = None
        self.label_guard: LabelGuard | None = None
        """None where nothing is pseudo-labelled, both."""
        if factory is not None:
            assert isinstance(self.dev, TextDevSets)
            self.labeler = factory.make(models, self.data, read_features, self._say)
            self.label_guard = LabelGuard(config, self.labeler, self.dev, self._say)
        self.objective = make_objective(models, self.labeler, read_features)
        self.train_step = TrainStep(config, self.engine, self.features, ranks, self.objective)
        self.state = TrainingState.at_the_start(config, batch_seconds)
        self.lost_audio = LostAudioGuard(config, ranks, self.data.utterances, self._say)
        self.non_finite = NonFinite(config, self.state, ranks, self.store.folder, self._say)
        self.log: RunLog | None = None
        self.notes = [*self.store.notes, *self.data.notes]
        self._stop = StopRequest()
        self._store_guard = StoreGuard(self.data, ranks, self._stop, self._save_at_once)
        self._evaluation_is_due = bool(saved and saved.state.get("evaluation_is_due"))
        if begins_with is not None:
            self.notes.append(begins_with.note)
        if begins_with.head_is_kept if begins_with else is_whole_model(config):
            self.averages.keep_start()
        if saved is not None:
            self.notes += saved.put(self.engine, self.averages)
            self.notes += self.state.restore(saved.state, self.store.is_own)
            self._restore_objective(saved)

    def _network(self, with_weights: bool) -> SpeechModel:
        size = self.tokenizer.vocabulary_size
        return make_trained_model(self.config, size, self.resumed_from, with_weights)

    def _new_network(self) -> SpeechModel:
        """Another one of the student's shapes, weights unset."""
        return self._network(with_weights=False)

    def _restore_objective(self, saved: Checkpoint) -> None:
        self.objective.load(saved.state, saved.extra)
        if self.label_guard is not None:
            self.label_guard.load(saved.state.get("label_guard"), self.state.dev_score)
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
        is_at_end = self.state.clock.hours >= self.config.trainer.total_hours
        is_at_end = is_at_end or self.state.patience.stops(self.config)
        return is_at_end and not self._evaluation_is_due

    def train(self) -> bool:
        """Train to the end, or to a signal to end. True at the end, False where stopped."""
        with self._stop.heard(self.shows and self.ranks.is_first):
            return self._train()

    def _train(self) -> bool:
        try:
            self._open_logs()
            self._say(*self.averages.begin(self.state.clock.hours))
            self._batches = self._batches_from_here()
            self._tell_the_stream()
            if self._evaluation_is_due:
                self._evaluate()
                self._checkpoint(self.state.dev_score)
            is_stopped = False
            while not (self.is_complete or is_stopped):
                started = time.perf_counter()
                batch = self._store_guard.next_of(self._batches)
                is_stopped = batch is None or self._update(batch, started)
                self._say_what_is_saved()
            if is_stopped:
                self._say(f"stopping: {self._stop}")
                self._checkpoint(None)
            self._say_what_is_saved(waits=True)
            self.ranks.barrier()
            return not is_stopped
        finally:
            self.store.close()
            if self.log:
                self.log.close()

    def _batches_from_here(self) -> Iterator[RankBatch]:
        return self.data.batches(self.state.position, self.ranks.rank, self.ranks.world)

    def _tell_the_stream(self) -> None:
        """Whether labels may begin: what was read ahead is drawn anew where that has changed."""
        guard, position = self.label_guard, self.state.position
        if guard and (told := guard.told(self.data.stream, position)) != position:
            self.state.position = told
            self._batches = self._batches_from_here()

    def _open_logs(self) -> None:
        """What a killed run logged after its checkpoint is dropped."""
        if self.labeler is not None and self.config.pseudo_label.ledger:
            self.labeler.ledger = LabelLedger(self.run, self.state.batches_drawn, self.ranks)
        if not self.ranks.is_first:
            return
        clock, settings = self.state.clock, self.config.model_dump(mode="json")
        about = clock.hours, clock.steps, self.state.batches_drawn, self._evaluation_is_due
        info = RunInfo(self.run, self.config.name, settings, *about)
        self.log = RunLog(info, self.loggers, self.shows)

    def _say(self, *lines: str) -> None:
        if self.log is not None:
            for line in lines:
                self.log.say(line)

    def _update(self, batch: RankBatch, started: float) -> bool:
        """One global batch, asked for at `started`; True if somebody asked to stop."""
        waited = time.perf_counter() - started
        state, seconds, before_hours = self.state, batch.batch.seconds, self.state.clock.hours
        if batch.nominal_seconds != state.batch_seconds:
            self._change_batch(batch.nominal_seconds)
        enter_phase(self.config, self.engine.student, self.data.stream, state)
        self.engine.enter(before_hours)
        if self.label_guard is not None:
            self.label_guard.before(batch.batch.labels, before_hours)
        learning_rate = self.engine.set_learning_rate(
            state.learning_rate_share(self.config, seconds)
        )
        own = self.train_step.accumulate(batch, state.batches_drawn, before_hours)
        own.wait_seconds, own.stop_signals = own.wait_seconds + waited, float(self._stop.number)
        stats = own.summed(self.ranks)
        self.lost_audio.count(own, stats, batch.batch)
        self.non_finite.count_losses(own, stats)
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
            self.objective.stepped(state.clock.hours, teacher_update is not None)
        else:
            self.non_finite.count_skipped()
        state.batches_drawn += 1
        state.position = batch.batch.after
        norm, threshold = self.engine.gradient_norm, self.engine.values.max_gradient_norm
        state.observe_gradient(self.config, norm, threshold, seconds, self.train_step.measured)
        self._say(*state.plateau.observe(stats, state.clock.hours))
        wall_seconds = time.perf_counter() - started
        wait_share = stats.wait_seconds / self.ranks.world / wall_seconds
        about = norm, batch.padding_share, wait_share, wall_seconds
        self._record(batch, Update(seconds, stats, learning_rate, teacher_update, *about))
        self._say(*self.objective.watch(stats, state.clock.hours, seconds))
        self._do_what_is_due(before_hours)
        return stats.stop_signals > 0 or self._stop.is_heard_by_all(self.ranks.world)

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
        second = f"{policy} by {factor:.3g}" if policy == "rescale" else policy
        self._say(batch_change(config, hours, before, batch_seconds, second))
        if self.ranks.is_first:
            note_card_in_force(self.run, config, self.ranks.world, self.state)

    def _record(self, batch: RankBatch, update: Update) -> None:
        if self.log is not None:
            label_metrics = self.labeler.metrics() if self.labeler else no_metrics()
            label_metrics |= label_guard_metrics(self.label_guard)
            found = self.objective.metrics(update.stats, update.seconds)
            record = update.record(self.config, self.state, found, label_metrics)
            is_noted = self.config.trainer.utterance_ledger  # an id is read from the manifest
            ids = self.data.utterance_ids(batch.batch) if is_noted else {}
            self.log.training(record, ids, update.seconds / update.wall_seconds)

    def _do_what_is_due(self, before_hours: float) -> None:
        trainer, hours = self.config.trainer, self.state.clock.hours
        is_due = crossed(before_hours, hours, trainer.checkpoint_every_hours)
        saves = self.is_complete or (is_due and self.store.may_save(trainer, self.ranks))
        if not (saves or is_due or crossed(before_hours, hours, trainer.evaluation_every_hours)):
            return
        self._evaluation_is_due = True
        saves_first = saves and not self.objective.acts_on_evaluations
        if saves_first:
            self._checkpoint(None)  # before what may fail
        try:
            self._evaluate()
        except Exception as error:  # of one process: several could not save together
            is_wanted = not (saves_first or isinstance(error, CollapseError))
            if is_wanted and (self.ranks.world == 1 or getattr(error, "is_of_all_ranks", False)):
                self._save_at_once()
            raise
        if saves or self.is_complete:  # by what was found
            self._checkpoint(self.state.dev_score)

    def _evaluate(self) -> None:
        """Student and teacher on every dev set; the teacher's mean score picks the best checkpoint."""
        distance = self.averages.shipped.distance()
        reading = self.label_guard.reading(self.state.clock.hours) if self.label_guard else None
        with self.engine.evaluating() as student, self.averages.shipped.evaluating() as average:
            models = {"student": student, "teacher": average}
            found: dict[str, list[DevMetrics]] = {model: [] for model in models}
            for speech in self.dev.sets:
                for model, network in models.items():
                    watch = reading if reading is not None and reading.model == model else None
                    metrics = self.dev.evaluate_beside(network, average, speech, watch)
                    found[model].append(metrics)
                    if self.log:
                        place = {**self.state.place(), "set": speech.name, "model": model}
                        record = {**place, **asdict(metrics), "teacher_student_distance": distance}
                        self.log.evaluation(record)
        self._say(*self.objective.evaluated(self.state.clock.hours, found))
        self.state.dev_score = mean_score(found["teacher"]) if self.objective.is_sound else None
        if self.label_guard is not None and reading is not None:
            self.label_guard.take(reading)
            self._tell_the_stream()
            self.label_guard.warn(self.data.stream, self.state.position)
        waits = self.labeler is not None and not self.labeler.is_begun
        self._say(*self.state.note_evaluation(self.config, waits))
        self._evaluation_is_due = False

    def _save_at_once(self) -> None:  # where an error ends the run; one of saving would be graver
        self._checkpoint(None)
        self._say_what_is_saved(waits=True)
        self.ranks.barrier()  # the first one has saved, before another one ends

    def _checkpoint(self, dev_score: float | None) -> None:
        if self.log:
            self.log.flush_to_disk()
        if self.labeler is not None and self.labeler.ledger is not None:
            self.labeler.ledger.write(self.state.batches_drawn)
        state = {
            **replace(self.state, dev_score=dev_score).to_json(),
            "averages": self.averages.state(),
            "evaluation_is_due": self._evaluation_is_due,
            "corpora": self.data.fingerprints,
            **self.objective.state(),
            "label_guard": self.label_guard.state() if self.label_guard else None,
            "ranks": self.ranks.world,
            "batch_seconds": self.state.batch_seconds,
        }
        is_new = not self.store.has_weights_at(self.state.clock.seconds, self.state.batches_drawn)
        self._say_what_is_saved(waits=is_new)
        extras = self.objective.tensors()
        if is_new:
            extras |= self.averages.tensors(self.state.schedule.pending_seconds > 0)
        parts = self.engine, self.averages.shipped, self.tokenizer, self.config, state, self.ranks
        self.store.save(*parts, extras, self.objective.files())
        self._say_what_is_saved()

    def _say_what_is_saved(self, waits: bool = False) -> None:
        if folder := self.store.saved(waits):
            self._say(f"{float(folder.name.removeprefix('hours-')):8.2f} h  saved {folder}")
