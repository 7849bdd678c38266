"""The half-life of an average, constant or scheduled, and the momentum of an update that covers some audio.

rho = 0.5^(integral of dt / tau(t) over the update's audio): exact for any schedule tau, any batch, any update
interval, a change of kappa in mid-run, and a skipped step, which covers none. With a constant tau it is the
EMA scaling rule, rho^kappa (Busbridge et al. 2023, arXiv 2307.13813, Definition 1.2).

A young average is warmed up: with tau(t) a share of the hours so far it forgets the random start and the first
students, which are the worst, at any kappa alike (a power-function average: Karras et al. 2024, arXiv
2312.02696).

It may grow: BYOL's momentum goes to 1 by half a cosine (arXiv 2006.07733), data2vec's decay grows evenly (arXiv
2202.03555), and so the rate of forgetting falls evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from asr.config.teacher import TeacherConfig, half_life_pieces

_STEPS = 1000
"""In which the end of a warm-up is looked for where the half-life grows."""
_SMALLEST_STEP = 1e-4
"""Of an average in fp32, as 1 - rho: at 1e-5 a twentieth of a slow weight's way is lost to rounding."""


@dataclass(frozen=True)
class _Span:
    """Hours in which the rate of forgetting, in half-lives an hour, goes evenly from one to another."""

    start: float
    end: float
    rate_at_start: float
    rate_at_end: float

    @property
    def _slope(self) -> float:
        return (self.rate_at_end - self.rate_at_start) / (self.end - self.start)

    def rate(self, hours: float) -> float:
        return self.rate_at_start + self._slope * (hours - self.start)

    def reached(self, share: float) -> float:
        """The first hour of the span at which `share` of the hours so far is the half-life; else infinite."""
        if share * self.start * self.rate_at_start >= 1.0:
            return self.start
        # share t (rate at 0 + slope t) = 1
        slope = self._slope
        at_zero = self.rate_at_start - slope * self.start
        if slope == 0.0:
            return 1.0 / (share * at_zero)
        square = at_zero**2 + 4.0 * slope / share
        if square < 0.0:
            return math.inf
        roots = [(-at_zero + sign * math.sqrt(square)) / (2.0 * slope) for sign in (1.0, -1.0)]
        return min((t for t in roots if t >= self.start), default=math.inf)


@dataclass(frozen=True)
class HalfLife:
    """A half-life over hours of audio."""

    pieces: tuple[tuple[float, float], ...]
    """(from this hour on, half-life in hours); from hour 0 on."""
    growth_end_hours: float | None = None
    """Where it becomes infinite, by half a cosine of its inverse; None where it does not grow."""
    is_linear: bool = False
    """Whether between two pieces its inverse, the rate of forgetting, goes from one's to the other's evenly."""
    warmup_share: float = 0.0
    """Of the hours so far: the half-life, until that reaches what is scheduled; 0 for no warm-up."""
    stretch: float = 1.0
    """So many times as long everywhere: what a run without the EMA rule has."""

    @property
    def scheduled(self) -> HalfLife:
        """Without the warm-up."""
        return replace(self, warmup_share=0.0)

    def at(self, hours: float) -> float:
        """The scheduled half-life at an hour; infinite at the end of a growth."""
        rate = self._rate_share(hours) * self._rate(hours)
        return self.stretch / rate if rate > 0.0 else math.inf

    def in_force(self, hours: float) -> float:
        """The same, or that of the warm-up while it lasts."""
        if hours < self.warmup_end_hours:
            return self.warmup_share * hours * self.stretch
        return self.at(hours)

    @cached_property
    def warmup_end_hours(self) -> float:
        """Where the warm-up reaches the schedule; 0 without one, infinite where it never does."""
        if self.warmup_share == 0.0:
            return 0.0
        for span in self._spans:
            found = max(span.start, self._reaches(span))
            if found < span.end:
                break
        return found

    def elapsed(self, from_hours: float, to_hours: float) -> float:
        """Half-lives that pass between two hours of audio: the integral of dt / tau(t).

        Infinite from hour 0 on with a warm-up: what was there before has no weight at all.
        """
        young = min(to_hours, self.warmup_end_hours)
        passed = 0.0
        if from_hours < young:
            ratio = young / from_hours if from_hours > 0.0 else math.inf
            passed = math.log(ratio) / self.warmup_share
            from_hours = young
        return (passed + self._scheduled(from_hours, to_hours)) / self.stretch

    def momentum(self, from_hours: float, to_hours: float) -> float:
        """rho of an update that covers the audio between two hours."""
        return float(0.5 ** self.elapsed(from_hours, to_hours))

    def stretched(self, factor: float) -> HalfLife:
        """One that is `factor` times as long everywhere."""
        return replace(self, stretch=self.stretch * factor)

    @property
    def longest(self) -> float:
        """Of the pieces, growth aside."""
        return max(half_life for _, half_life in self.pieces) * self.stretch

    @cached_property
    def _spans(self) -> list[_Span]:
        ends = [*self.pieces[1:], (math.inf, self.pieces[-1][1])]
        return [
            _Span(start, end, 1.0 / half_life, 1.0 / (after if self.is_linear else half_life))
            for (start, half_life), (end, after) in zip(self.pieces, ends, strict=True)
        ]

    def _rate(self, hours: float) -> float:
        """Half-lives an hour by the pieces, growth aside."""
        return [span for span in self._spans if span.start <= hours][-1].rate(hours)

    def _reaches(self, span: _Span) -> float:
        """The hour at which the warm-up has a span's half-life, or what a growth has made of it by then."""
        end, half_life = self.growth_end_hours, 1.0 / span.rate_at_start
        if end is None:
            return span.reached(self.warmup_share)
        for step in range(1, _STEPS + 1):
            hours = end * step / _STEPS
            if self.warmup_share * hours * self._rate_share(hours) >= half_life:
                return hours
        return math.inf

    def _scheduled(self, from_hours: float, to_hours: float) -> float:
        """Half-lives by the schedule alone, not stretched."""
        parts = []
        for span in self._spans:
            start, end = max(from_hours, span.start), min(to_hours, span.end)
            if start < end:
                hours = self._weighted_hours(end) - self._weighted_hours(start)
                parts.append(hours * (span.rate(start) + span.rate(end)) / 2.0)
        return math.fsum(parts)

    def _rate_share(self, hours: float) -> float:
        """Of the rate of forgetting, what a growth leaves; BYOL's momentum (arXiv 2006.07733), in audio."""
        if self.growth_end_hours is None:
            return 1.0
        return (1.0 + math.cos(math.pi * min(1.0, hours / self.growth_end_hours))) / 2.0

    def _weighted_hours(self, hours: float) -> float:
        """The integral of `_rate_share` from hour 0 on."""
        end = self.growth_end_hours
        if end is None:
            return hours
        hours = min(hours, end)
        return hours / 2.0 + end / (2.0 * math.pi) * math.sin(math.pi * hours / end)


def labelling_half_life(teacher: TeacherConfig, total_hours: float) -> HalfLife:
    """Of the average that labels; `total_hours` is the end of training."""
    pieces = tuple(half_life_pieces(teacher.half_life_hours))
    growth = teacher.half_life_growth
    growth_end_hours = total_hours if growth == "cosine" else None
    return HalfLife(pieces, growth_end_hours, growth == "linear", teacher.warmup_share)


def evaluation_half_life(teacher: TeacherConfig) -> HalfLife | None:
    """Of the second average, which is evaluated and shipped; None where there is one average."""
    given = teacher.evaluation_half_life_hours
    if given is None:
        return None
    return HalfLife(tuple(half_life_pieces(given)), warmup_share=teacher.warmup_share)


def shortest_interval_seconds(half_life: HalfLife) -> float:
    """Audio between two updates below which an average in fp32 would not be exact.

    Where it grows, the end of the growth is not counted: there the average hardly moves.
    """
    return -math.log2(1.0 - _SMALLEST_STEP) * half_life.longest * 3600.0


def remaining_start(half_life: HalfLife, hours: float) -> float:
    """Weight of the weights at hour 0 in a plain average, without a warm-up, at an hour of audio."""
    return half_life.scheduled.momentum(0.0, hours)
