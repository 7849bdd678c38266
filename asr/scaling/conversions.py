"""Converters from and to the ways in which published recipes state a teacher."""

from __future__ import annotations

import math

from asr.errors import UserError
from asr.scaling.rule import SECONDS_PER_HOUR, teacher_momentum


def half_life_from_momentum(momentum: float, batch_seconds: float) -> float:
    """Half-life in hours of audio of a teacher that decays by `momentum` every `batch_seconds`.

    Raises UserError unless 0 < momentum < 1.
    """
    if not 0.0 < momentum < 1.0:
        raise UserError(f"teacher momentum {momentum} is impossible", "it must lie between 0 and 1")
    return batch_seconds / SECONDS_PER_HOUR * math.log(0.5) / math.log(momentum)


def momentum_from_half_life(half_life_hours: float, batch_seconds: float) -> float:
    """The inverse of `half_life_from_momentum`."""
    return teacher_momentum(batch_seconds, half_life_hours)


def half_life_from_epoch_weight(weight: float, epoch_hours: float) -> float:
    """Half-life of Momentum Pseudo-Labeling's w (arXiv 2106.08922): alpha = w^(1/K), K updates an epoch."""
    return half_life_from_momentum(weight, epoch_hours * SECONDS_PER_HOUR)


def epoch_weight_from_half_life(half_life_hours: float, epoch_hours: float) -> float:
    """The inverse of `half_life_from_epoch_weight`."""
    return teacher_momentum(epoch_hours * SECONDS_PER_HOUR, half_life_hours)


def half_life_from_kaizen(alpha: float, delta_steps: int, batch_seconds: float) -> float:
    """Half-life of Kaizen's pair (arXiv 2106.07759): every Delta steps the teacher keeps alpha of itself."""
    return half_life_from_momentum(alpha, delta_steps * batch_seconds)


def kaizen_from_half_life(half_life_hours: float, delta_steps: int, batch_seconds: float) -> float:
    """The alpha that goes with `delta_steps`: the inverse of `half_life_from_kaizen`."""
    return teacher_momentum(delta_steps * batch_seconds, half_life_hours)
