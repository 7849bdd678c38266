"""The audio clock, and what hangs on it: what is due, the learning rate's schedule, the teacher's updates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from asr.config.schema import Config, OptimizerConfig
from asr.scaling.half_life import HalfLife, evaluation_half_life, labelling_half_life
from asr.scaling.rule import SECONDS_PER_HOUR, half_life_stretch, in_force, teacher_interval_seconds


@dataclass
class AudioClock:
    """Audio consumed by applied optimizer steps."""

    seconds: float = 0.0
    steps: int = 0

    @property
    def hours(self) -> float:
        return self.seconds / SECONDS_PER_HOUR

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.steps += 1


def crossed(before_hours: float, after_hours: float, every_hours: float) -> bool:
    """Whether a multiple of `every_hours` lies in (before, after]."""
    return math.floor(after_hours / every_hours) > math.floor(before_hours / every_hours)


def learning_rate_share(
    optimizer: OptimizerConfig, total_hours: float, hours: float, decays: int = 0
) -> float:
    """Share of the peak learning rate at `hours` of audio: warm-up, plateau, decay.

    `decays`: how often the dev WER has not fallen for long enough, for decay plateau.

    Callers pass the middle of the batch about to be used, so that the integral over audio of a linear
    piece of the schedule is the same for every batch size.
    """
    if hours < optimizer.warmup_hours:
        return hours / optimizer.warmup_hours
    if optimizer.decay == "constant":
        return 1.0
    if optimizer.decay == "plateau":
        return max(optimizer.final_share, optimizer.plateau.factor**decays)
    start, end = _decay_span(optimizer, total_hours)
    progress = min(1.0, max(0.0, (hours - start) / max(end - start, 1e-12)))
    remaining = (
        1 - progress if optimizer.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
    )
    return optimizer.final_share + (1.0 - optimizer.final_share) * remaining


def _decay_span(optimizer: OptimizerConfig, total_hours: float) -> tuple[float, float]:
    start = optimizer.decay_start_hours
    return (
        optimizer.warmup_hours if start is None else start,
        optimizer.decay_end_hours or total_hours,
    )


@dataclass(frozen=True)
class TeacherUpdate:
    """An update of the averages: the audio that it covers, and what of them stays."""

    from_hours: float
    to_hours: float
    scheduled_momentum: float
    """rho by the half-life of the average that labels, its warm-up aside."""
    momentum: float
    """rho of the average that labels."""
    evaluation_momentum: float
    """rho of the one that is evaluated and shipped; the same where that is the same."""


@dataclass
class TeacherSchedule:
    """When the averages are updated, and with which momentum."""

    half_life: HalfLife
    interval_seconds: float = 0.0
    """Of audio between two updates, on average; 0 for every step."""
    evaluation_half_life: HalfLife | None = None
    """Of the second average, where there is one."""
    pending_seconds: float = 0.0
    """Audio consumed since the last update."""
    due_seconds: float = 0.0
    """The same, and by how much that update came late: the next one is due as much earlier."""

    @classmethod
    def for_batch(cls, config: Config, batch_seconds: float) -> TeacherSchedule:
        """The schedule at a nominal global batch."""
        steps = in_force(config, batch_seconds).teacher_update_steps
        stretch = half_life_stretch(config, batch_seconds)
        second = evaluation_half_life(config.teacher)
        return cls(
            labelling_half_life(config.teacher, config.trainer.total_hours).stretched(stretch),
            # An interval of a step is every step, also where a real batch comes out a little short.
            teacher_interval_seconds(config, batch_seconds) if steps > 1 else 0.0,
            second and second.stretched(stretch),
        )

    def consume(self, seconds: float, hours: float) -> TeacherUpdate | None:
        """Account for an applied step of `seconds` that ends at `hours`; the update if one is due."""
        self.pending_seconds += seconds
        self.due_seconds += seconds
        if self.due_seconds < self.interval_seconds:
            return None
        self.due_seconds = (
            self.due_seconds % self.interval_seconds if self.interval_seconds else 0.0
        )
        span = (hours - self.pending_seconds / SECONDS_PER_HOUR, hours)
        self.pending_seconds = 0.0
        second = self.evaluation_half_life or self.half_life
        scheduled = self.half_life.scheduled.momentum(*span)
        momenta = self.half_life.momentum(*span), second.momentum(*span)
        return TeacherUpdate(*span, scheduled, *momenta)
