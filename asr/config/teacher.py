"""What a recipe's `teacher:` can say: the averages of the student's weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from asr.config.fields import NonNegative, Positive, Section, Share, check_schedule

HalfLifeHours = Positive | Annotated[list[tuple[NonNegative, Positive]], Field(min_length=1)]
"""Hours of audio; or a schedule, as [from this hour on, half-life] pairs that begin at hour 0."""


class TeacherConfig(Section):
    half_life_hours: HalfLifeHours = 100.0
    """Hours of audio after which the weight of a past student in the average has halved; or a schedule:
    [[0, 20], [100, 50]]."""
    half_life_growth: Literal["none", "linear", "cosine"] = "none"
    """linear: between two pieces of a schedule the rate at which the average forgets goes evenly from one's to
    the other's, as 1 - decay does in data2vec (arXiv 2202.03555); [[0, 20], [100, 200]] grows for 100 hours.
    cosine: that rate falls to 0 at the end of training by half a cosine, as BYOL's does (arXiv 2006.07733)."""
    warmup_share: Share = 0.1
    """Until that is longer than the half-life, the half-life is this share of the audio so far: a young average
    forgets the random start, and the first students after it. 0 for the half-life from the start on, which is
    what a run has by itself where init_from gives it a trained start with its head."""
    update_interval_seconds: NonNegative | None = None
    """Audio between two updates of the teacher; 0 for every step; null for the reference batch, or for more
    where the step of an average in fp32 would be too small to be exact."""
    averaged_weights: Literal["midpoint", "after", "before"] = "midpoint"
    """What an update takes: the mean of the student's weights then and at the update before, which keeps the
    average where it is as batches grow; or those after, or before, the audio that it covers."""
    bias_correction: bool = True
    """Take the weights with which the average began out of it, as Adam does with its moments; a warm-up leaves
    nothing of them from the start, but for an average that was reset."""
    evaluation_half_life_hours: HalfLifeHours | None = None
    """Of a second average, which is evaluated and shipped where the other one labels; null for one average."""

    keep_for_average: bool = False
    """Keep what `asr average` makes an average of any half-life of, after the run: two more fp32 copies of the
    weights in memory, and in the run's folder some 24 to 50 snapshots of them."""

    @model_validator(mode="after")
    def _check(self) -> TeacherConfig:
        for name in ("half_life_hours", "evaluation_half_life_hours"):
            pieces = half_life_pieces(getattr(self, name) or 1.0)
            check_schedule([start for start, _ in pieces], f"{name}'s schedule")
        if self.half_life_growth == "cosine" and isinstance(self.half_life_hours, list):
            raise ValueError(
                "half_life_growth cosine needs one number as half_life_hours, not a schedule"
            )
        if self.half_life_growth == "linear" and len(half_life_pieces(self.half_life_hours)) < 2:
            raise ValueError(
                "half_life_growth linear needs a schedule as half_life_hours, as [[0, 20], [100, 200]]"
            )
        return self


def half_life_pieces(given: HalfLifeHours) -> list[tuple[float, float]]:
    """(from this hour on, half-life in hours)."""
    return given if isinstance(given, list) else [(0.0, given)]
