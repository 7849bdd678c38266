"""The metrics of one update, as metrics.jsonl has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.config.schema import Config
from asr.scaling.card import scaling_card
from asr.scaling.clock import TeacherUpdate
from asr.scaling.rule import SECONDS_PER_HOUR, kappa_of
from asr.scaling.validity import step_deviation
from asr.tracking.scaling_history import note_card
from asr.training.batch_stats import BatchStats
from asr.training.state import TrainingState


@dataclass(frozen=True)
class Update:
    """What one update did, over all ranks."""

    seconds: float
    """Audio of its global batch."""
    stats: BatchStats
    learning_rate: float
    teacher: TeacherUpdate | None
    """None where the averages were not updated."""
    gradient_norm: float
    """Before clipping."""
    padding_share: float
    data_wait_share: float
    wall_seconds: float

    def record(
        self,
        config: Config,
        state: TrainingState,
        objective_metrics: Mapping[str, Any],
        label_metrics: Mapping[str, Any],
    ) -> dict[str, Any]:
        """In the order of the file. `state` is that after the update."""
        stats = self.stats
        return {
            **state.place(),
            "kappa": kappa_of(config, state.batch_seconds),
            "learning_rate": self.learning_rate,
            "teacher_momentum": self.teacher and self.teacher.scheduled_momentum,
            "average_momentum": self.teacher and self.teacher.momentum,
            "half_life_hours": _finite(state.schedule.half_life.in_force(state.clock.hours)),
            **objective_metrics,
            "gradient_norm": self.gradient_norm if math.isfinite(self.gradient_norm) else None,
            "micro_batches": int(stats.micro_batches),
            **_validity(config, state),
            "batch_seconds": self.seconds,
            **label_metrics,
            **state.plateau.metrics(state.clock.hours),
            **state.patience.metrics(config),
            "lost_utterances": int(stats.lost_utterances),
            "refetched": int(stats.refetched),
            "non_finite": state.non_finite,
            "skipped_updates": state.skipped_updates,
            "padding_share": self.padding_share,
            "data_wait_share": round(self.data_wait_share, 3),
            "wall_seconds": round(self.wall_seconds, 3),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _validity(config: Config, state: TrainingState) -> dict[str, Any]:
    """What the gradients say of the rule's assumptions at the batch in force (asr/scaling/validity.py)."""
    gradient, batch_seconds = state.noise_scale.gradient, state.batch_seconds
    share = deviation = None
    if gradient is not None:
        share = gradient.signal_share(batch_seconds)
        deviation = step_deviation(config, batch_seconds, gradient)
    return {
        **state.noise_scale.metrics(),
        "gradient_signal_share": share,
        "step_deviation_percent": None if deviation is None else 100.0 * deviation,
        "clipped_share": state.clipped.share,
    }


def note_card_in_force(run: Path, config: Config, world: int, state: TrainingState) -> str | None:
    """In the run's scaling.json: what holds from the clock's position on. Returns what `note_card` does."""
    card = scaling_card(config, world, state.position.seconds / SECONDS_PER_HOUR)
    return note_card(run, {**card, "from_hours": state.clock.hours})
