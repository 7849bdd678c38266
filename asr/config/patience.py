"""What waits for the dev WER to fall: the learning rate's decay on a plateau, and the end of training."""

from __future__ import annotations

from asr.config.fields import NonNegative, Positive, Section, Share


class PlateauConfig(Section):
    """For optimizer.decay: plateau."""

    patience_hours: Positive | None = None
    """Hours of audio without a lower dev WER (the average's, as for the best checkpoint; its dev loss, where
    the objective has no texts) after which the learning rate falls; asked at evaluations. Hours before
    pseudo-labels begin do not count."""
    factor: Share = 0.5
    """What the learning rate is multiplied by, each time; optimizer.final_share bounds it."""
    min_delta: NonNegative = 0.0
    """By how many points of WER, or how much dev loss, it must fall to count."""


class EarlyStoppingConfig(Section):
    patience_hours: Positive | None = None
    """Training ends, as complete, after so many hours of audio without a lower dev WER, or dev loss (the
    average's, as for the best checkpoint); asked at evaluations. Hours before pseudo-labels begin do not
    count; null: never."""
    min_delta: NonNegative = 0.0
    """By how many points of WER, or how much dev loss, it must fall to count."""
