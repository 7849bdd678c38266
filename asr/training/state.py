"""Where a run stands, but for its weights and labels: plain numbers, as state.json has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from asr.config.schema import Config
from asr.data.sampler import Position
from asr.scaling.clock import AudioClock, TeacherSchedule, learning_rate_share
from asr.scaling.rule import SECONDS_PER_HOUR
from asr.scaling.second_moment import NORMS_KEPT, norms_at
from asr.scaling.validity import GradientNoise
from asr.training.guards.blank_plateau import BlankPlateau
from asr.training.guards.patience import Patience
from asr.training.noise_scale import ClippedShare, GradientNoiseScale


@dataclass
class TrainingState:
    """Counters and positions of a run; the same on all ranks."""

    batch_seconds: float
    """Nominal audio of a global batch, for which the values in force are."""
    schedule: TeacherSchedule
    clock: AudioClock = field(default_factory=AudioClock)
    position: Position = field(default_factory=Position)
    noise_scale: GradientNoiseScale = field(default_factory=GradientNoiseScale)
    clipped: ClippedShare = field(default_factory=ClippedShare)
    plateau: BlankPlateau = field(default_factory=BlankPlateau)
    patience: Patience = field(default_factory=Patience)
    batches_drawn: int = 0
    non_finite: int = 0
    """Utterances that were left out since their loss was NaN or infinite."""
    skipped_updates: int = 0
    """Updates that the engine did not apply, since their gradient was not finite."""
    gradient_norms: list[float] = field(default_factory=list)
    """Of the last updates, before clipping, as they are at the batch in force."""
    dev_score: float | None = None
    """Of the teacher: the mean over the dev sets of what checkpoints are compared by, the lower the better."""
    score_name: str = "dev_wer"
    """What that is, in state.json."""

    @classmethod
    def at_the_start(cls, config: Config, batch_seconds: float) -> TrainingState:
        """Of a run that has no checkpoint."""
        schedule = TeacherSchedule.for_batch(config, batch_seconds)
        return cls(batch_seconds, schedule, score_name=config.objective.score_name)

    def change_batch(self, config: Config, batch_seconds: float) -> None:
        """From here on batches of another size; the audio that no teacher update has seen is kept."""
        before = self.schedule
        self.schedule = TeacherSchedule.for_batch(config, batch_seconds)
        self.schedule.pending_seconds = before.pending_seconds
        self.schedule.due_seconds = before.due_seconds
        self.gradient_norms = norms_at(self.gradient_norms, batch_seconds / self.batch_seconds)
        self.batch_seconds = batch_seconds

    def note_gradient_norm(self, norm: float) -> None:
        """Of an update that was applied."""
        self.gradient_norms = [*self.gradient_norms[1 - NORMS_KEPT :], norm]

    def observe_gradient(
        self,
        config: Config,
        norm: float,
        threshold: float,
        seconds: float,
        measured: GradientNoise | None,
    ) -> None:
        """For what the metrics say of the rule's assumptions."""
        reference_seconds = config.scaling.reference_batch_seconds
        self.clipped.observe(norm, threshold, seconds, reference_seconds)
        if measured is not None and math.isfinite(norm):
            self.noise_scale.observe(measured)

    def learning_rate_share(self, config: Config, seconds: float) -> float:
        """Of the peak, in the middle of a batch of so many seconds that is about to be used."""
        hours, total_hours = self.clock.hours + seconds / 7200, config.trainer.total_hours
        return learning_rate_share(config.optimizer, total_hours, hours, self.patience.decays)

    def note_evaluation(self, config: Config, waits: bool) -> list[str]:
        """Of `dev_score`, at this place; with `waits` nobody is impatient yet. Lines for people."""
        batch_hours = self.batch_seconds / SECONDS_PER_HOUR
        return self.patience.observe(config, self.clock.hours, batch_hours, self.dev_score, waits)

    def place(self) -> dict[str, Any]:
        """Where a record stands in the run."""
        return {"step": self.clock.steps, "batch": self.batches_drawn, "hours": self.clock.hours}

    def forget_cache(self) -> None:
        """Begin with an empty cache of labels."""
        self.position = replace(self.position, cache=None)

    def to_json(self) -> dict[str, Any]:
        """What `restore` takes, but for the batch's size, which state.json names last."""
        return {
            "clock": asdict(self.clock),
            "position": asdict(self.position),
            "noise_scale": asdict(self.noise_scale),
            "clipped": asdict(self.clipped),
            "plateau": asdict(self.plateau),
            "patience": asdict(self.patience),
            "teacher_pending_seconds": self.schedule.pending_seconds,
            "teacher_due_seconds": self.schedule.due_seconds,
            "batches_drawn": self.batches_drawn,
            "non_finite": self.non_finite,
            "skipped_updates": self.skipped_updates,
            "gradient_norms": self.gradient_norms,
            "dev_wer": None,  # which older versions look for
            self.score_name: self.dev_score,
        }

    def restore(self, saved: Mapping[str, Any], is_own: bool = True) -> list[str]:
        """Go on from a checkpoint; the schedule stays that of the recipe. What a user should know of it.

        `is_own`: of this run, and not the one that it is forked from, whose patience may be at its end.
        """
        # Of the kappa that the checkpoint knew. The first batch finds out if it has changed.
        self.batch_seconds = saved["batch_seconds"]
        self.clock = AudioClock(**saved["clock"])
        self.position = Position.from_state(saved["position"])
        self.noise_scale = GradientNoiseScale.from_state(saved["noise_scale"])
        self.clipped = ClippedShare(**saved.get("clipped", {}))
        self.plateau = BlankPlateau(**saved.get("plateau", {}))
        self.patience = Patience.from_state(saved.get("patience", {}))
        if not is_own:
            self.patience.stopping.begin_again(self.clock.hours)
        self.schedule.pending_seconds = saved["teacher_pending_seconds"]
        self.schedule.due_seconds = saved.get("teacher_due_seconds", self.schedule.pending_seconds)
        self.batches_drawn = saved["batches_drawn"]
        self.non_finite = saved["non_finite"]
        self.skipped_updates = saved.get("skipped_updates", 0)
        self.gradient_norms = list(saved.get("gradient_norms", []))
        self.dev_score = saved[self.score_name]
        if saved["noise_scale"].get("noise") and not self.noise_scale.weights:
            return [
                "the checkpoint's gradient noise scale is of an older version, which measured it on sorted "
                "micro-batches and so too high: it is measured anew"
            ]
        return []
