"""Schedules of the learning rate and of the teacher, in hours of audio."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_helpers import config

from asr.scaling.clock import TeacherSchedule, learning_rate_share
from asr.scaling.half_life import HalfLife
from asr.scaling.rule import teacher_momentum


@given(st.lists(st.floats(1, 500), min_size=1, max_size=50), st.floats(0, 1000))
def test_the_schedule_forgets_no_audio(steps: list[float], interval: float) -> None:
    schedule = TeacherSchedule(HalfLife(((0.0, 10.0),)), interval_seconds=interval)
    ends = [sum(steps[: n + 1]) / 3600 for n in range(len(steps))]
    updates = [schedule.consume(*step) for step in zip(steps, ends, strict=True)]
    done = math.prod(update.momentum for update in updates if update is not None)
    assert done == pytest.approx(teacher_momentum(sum(steps) - schedule.pending_seconds, 10.0))


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
def test_the_learning_rate_schedule_in_hours(decay: str) -> None:
    optimizer = config(
        optimizer={"warmup_hours": 2, "decay": decay, "decay_start_hours": 6, "final_share": 0.1}
    ).optimizer
    assert learning_rate_share(optimizer, 10, 1) == pytest.approx(0.5)
    assert learning_rate_share(optimizer, 10, 4) == 1.0
    expected = {"constant": (1.0, 1.0), "linear": (0.55, 0.1), "cosine": (0.55, 0.1)}[decay]
    assert learning_rate_share(optimizer, 10, 8) == pytest.approx(expected[0])
    assert learning_rate_share(optimizer, 10, 10) == pytest.approx(expected[1])
