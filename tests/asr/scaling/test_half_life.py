"""The half-life in hours of audio, constant or scheduled: the same average however the audio is cut."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_helpers import config

from asr.errors import UserError
from asr.scaling.clock import TeacherSchedule
from asr.scaling.conversions import half_life_from_momentum
from asr.scaling.half_life import HalfLife, labelling_half_life, remaining_start

SCHEDULES = {
    "constant": HalfLife(((0.0, 3.0),)),
    "pieces": HalfLife(((0.0, 1.0), (2.0, 8.0), (5.0, 4.0))),
    "cosine": HalfLife(((0.0, 3.0),), growth_end_hours=9.0),
    "linear": HalfLife(((0.0, 1.0), (2.0, 8.0), (5.0, 4.0)), is_linear=True),
    "stretched": HalfLife(((0.0, 1.0), (2.0, 8.0))).stretched(2.0),
}
WARMED_UP = {
    "constant": HalfLife(((0.0, 1.0),), warmup_share=0.25),
    "pieces": HalfLife(((0.0, 1.0), (2.0, 1.5)), warmup_share=0.25),
    "cosine": HalfLife(((0.0, 0.4),), growth_end_hours=9.0, warmup_share=0.25),
    "linear": HalfLife(((0.0, 0.5), (2.0, 1.0), (8.0, 2.0)), is_linear=True, warmup_share=0.25),
    "never": HalfLife(((0.0, 4.0),), growth_end_hours=9.0, warmup_share=0.25),
    "stretched": HalfLife(((0.0, 1.0),), warmup_share=0.25).stretched(4.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_passes_is_the_integral_of_the_inverse(name: str) -> None:
    half_life = SCHEDULES[name]
    hours = np.linspace(0.0, 8.0, 80_001)
    middles = (hours[1:] + hours[:-1]) / 2
    expected = sum(1.0 / half_life.at(float(t)) for t in middles) * (hours[1] - hours[0])
    assert half_life.elapsed(0.0, 8.0) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@given(st.lists(st.floats(1.0, 4000.0), min_size=1, max_size=30), st.floats(0.0, 3000.0))
def test_batches_and_intervals_only_cut_it(name: str, steps: list[float], interval: float) -> None:
    """Progressive batches, an update interval, and whatever a step holds: the product of rho is the same."""
    schedule = TeacherSchedule(SCHEDULES[name], interval)
    product, seconds = 1.0, 0.0
    for step in steps:
        seconds += step
        update = schedule.consume(step, seconds / 3600)
        product *= update.momentum if update else 1.0
    covered = (seconds - schedule.pending_seconds) / 3600
    assert product == pytest.approx(SCHEDULES[name].momentum(0.0, covered), rel=1e-9)


def test_a_cosine_forgets_nothing_at_the_end() -> None:
    teacher = config(teacher={"half_life_growth": "cosine"}).teacher
    half_life = labelling_half_life(teacher, 40.0).scheduled
    assert half_life.at(0.0) == 10.0
    assert half_life.at(20.0) == pytest.approx(20.0)
    assert half_life.at(40.0) == math.inf
    assert half_life.elapsed(0.0, 40.0) == pytest.approx(2.0)
    assert half_life.momentum(40.0, 41.0) == 1.0


def test_a_linear_growth_is_data2vec_s_decay_at_any_kappa() -> None:
    """0.99 to 0.999 over 1,000 updates of 36 s; in batches of 288 s the same average of a student at rest."""
    first, last = (half_life_from_momentum(decay, 36.0) for decay in (0.99, 0.999))
    grown = config(
        teacher={"half_life_hours": [[0, first], [10, last]], "half_life_growth": "linear"}
    )
    half_life = labelling_half_life(grown.teacher, 40.0).scheduled
    decays = [0.99 + 0.009 * (step + 0.5) / 1000 for step in range(1000)]
    ours = [half_life.momentum(step / 100, (step + 1) / 100) for step in range(1000)]
    assert ours == pytest.approx(decays, abs=3e-5)
    assert half_life.momentum(12.0, 12.01) == pytest.approx(0.999, abs=1e-9)
    eight = [half_life.momentum(step / 100, (step + 8) / 100) for step in range(0, 1000, 8)]
    assert math.prod(eight) == pytest.approx(math.prod(ours), rel=1e-9)


@pytest.mark.parametrize("name", [*SCHEDULES, *WARMED_UP])
@given(st.floats(0.01, 20.0), st.floats(0.001, 5.0), st.integers(1, 50), st.floats(-10.0, 10.0))
def test_one_update_is_many_where_the_student_stands_still(
    name: str, from_hours: float, hours: float, count: int, average: float
) -> None:
    """In float64: average <- rho average + (1 - rho) student, over s seconds or n times over s / n."""
    half_life, student = {**SCHEDULES, **WARMED_UP}[name], 1.0
    rho = half_life.momentum(from_hours, from_hours + hours)
    once = rho * average + (1.0 - rho) * student
    edges = np.linspace(from_hours, from_hours + hours, count + 1).tolist()
    for start, end in itertools.pairwise(edges):
        rho = half_life.momentum(start, end)
        average = rho * average + (1.0 - rho) * student
    assert average == pytest.approx(once, rel=1e-9, abs=1e-9)


def test_the_start_that_is_left() -> None:
    """The figures that a plain average had without a word: 87 %, and 13.5 % in the LibriSpeech recipes."""
    assert remaining_start(HalfLife(((0.0, 100.0),)), 20.0) == pytest.approx(0.8706, abs=1e-4)
    assert remaining_start(HalfLife(((0.0, 4467.0),)), 12888.0) == pytest.approx(0.135, abs=1e-3)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"half_life_hours": [[1, 20]]}, "half_life_hours's schedule must begin at 0"),
        ({"evaluation_half_life_hours": [[0, 20], [0, 3]]}, "begin at 0 and ascend"),
        ({"half_life_hours": [[0, 20]], "half_life_growth": "cosine"}, "cosine needs one number"),
        ({"half_life_hours": 20, "half_life_growth": "linear"}, "linear needs a schedule"),
    ],
)
def test_an_impossible_schedule_is_refused(teacher: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(teacher=teacher)


def test_an_interval_is_as_long_as_it_says_on_average() -> None:
    """300 s at batches of 80 s were 320: each interval began where the last update's batch ended."""
    recipe = config(
        teacher={"update_interval_seconds": 300.0},
        batch={"batch_seconds_per_rank": 80.0, "group_seconds": 10.0},
    )
    schedule = TeacherSchedule.for_batch(recipe, 80.0)
    updates = [schedule.consume(80.0, step * 80.0 / 3600) for step in range(1, 1501)]
    assert len([update for update in updates if update]) == 400


@pytest.mark.parametrize("name", WARMED_UP)
def test_a_warm_up_is_a_share_of_the_hours_until_it_reaches_the_schedule(name: str) -> None:
    half_life = WARMED_UP[name]
    end = half_life.warmup_end_hours
    expected_end = {
        "constant": 4.0,
        "pieces": 6.0,
        "linear": 6.0,  # where t (7/6 - t/12) / 4 = 1
        "never": math.inf,
        "stretched": 4.0,
        "cosine": 1.78,
    }
    assert end == pytest.approx(expected_end[name], abs=0.02)
    hours = np.linspace(0.5, 8.0, 75_001)
    middles = (hours[1:] + hours[:-1]) / 2
    taus = [
        0.25 * t * half_life.stretch if t < end else half_life.at(float(t))
        for t in middles.tolist()
    ]
    assert taus == [half_life.in_force(t) for t in middles.tolist()]
    expected = sum(1.0 / tau for tau in taus) * (hours[1] - hours[0])
    assert half_life.elapsed(0.5, 8.0) == pytest.approx(float(expected), rel=1e-4)
    assert half_life.momentum(0.0, 0.5) == 0.0, "nothing is left of the start"
    assert half_life.scheduled.elapsed(0.0, 8.0) == pytest.approx(
        half_life.scheduled.elapsed(0.0, 3.0) + half_life.scheduled.elapsed(3.0, 8.0)
    )
