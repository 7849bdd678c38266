"""The teacher is the average and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import small_model

from asr.config.recipe import parse_config
from asr.config.teacher import TeacherConfig
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.scaling.clock import TeacherSchedule
from asr.teacher.averages import Averages
from asr.teacher.ema import WeightAverage
from asr.teacher.student_samples import Convention, StudentSamples


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99999, 1.0])
def test_the_teacher_is_the_average_and_nothing_else(momentum: float) -> None:
    student = small_model()
    optimizer = torch.optim.AdamW(student.parameters())
    engine = SimpleNamespace(optimizer=optimizer, zero_optimization_stage=lambda: 0)
    shards = Shards(dict(student.named_weights()), engine, ranks=1, rank=0)
    samples = StudentSamples(shards)
    teacher = WeightAverage(small_model(), samples, Ranks(0, 1, torch.device("cpu")))
    before = {name: weight.clone() for name, weight in student.named_weights()}
    assert teacher.distance() == 0.0
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += torch.randn_like(parameter)
    teacher.update(momentum, samples.take())
    for name, new in teacher.model().named_weights():
        source = dict(student.named_weights())[name].double()
        expected = momentum * before[name].double() + (1 - momentum) * source
        assert torch.allclose(new.double(), expected, atol=1e-6)
        assert new.dtype is torch.float32
        assert not new.requires_grad
    assert not teacher.model().training


class Path(torch.nn.Module):
    """Something whose weights an average follows: one parameter, set from outside."""

    def __init__(self, start: torch.Tensor) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(start.clone())

    def named_weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        yield from self.named_parameters()

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        self.load_state_dict(weights)


def follower(
    start: torch.Tensor, convention: Convention = "after", has_bias_correction: bool = False
) -> tuple[Path, WeightAverage]:
    """A student, and the average of it."""
    student = Path(start)
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    engine = SimpleNamespace(optimizer=optimizer, zero_optimization_stage=lambda: 0)
    shards = Shards(dict(student.named_weights()), engine, ranks=1, rank=0)
    samples, ranks = StudentSamples(shards, convention), Ranks(0, 1, torch.device("cpu"))
    average = WeightAverage(Path(start), samples, ranks, has_bias_correction)  # type: ignore[arg-type]
    return student, average


def test_a_start_worth_keeping_fades_by_the_half_life_and_is_not_taken_out() -> None:
    student, average = follower(torch.tensor([8.0]), has_bias_correction=True)
    average.keep_start()
    follow(student, average, torch.tensor([0.0]), 0.5)
    assert float(average.average[0]) == 4.0
    follow(student, average, torch.tensor([0.0]), 0.5)
    assert float(average.average[0]) == 2.0
    # After a collapse it begins as the student, and of that nothing is kept.
    average.reset_to_student()
    follow(student, average, torch.tensor([3.0]), 0.5)
    assert float(average.average[0]) == 3.0


def follow(student: Path, average: WeightAverage, weights: torch.Tensor, momentum: float) -> None:
    """The student moves, and the average is updated."""
    student.theta.data.copy_(weights)
    average.update(momentum, average.samples.take())
    average.samples.settle()


def test_a_young_average_holds_nothing_of_the_random_start() -> None:
    """Before, 87 % of the weights that label after 20 h at a half-life of 100 h were those of hour 0."""
    start, steps = torch.full((5,), 1000.0), 200
    plain_student, plain = follower(start)
    student, corrected = follower(start, has_bias_correction=True)
    path = torch.randn(steps, 5, generator=torch.Generator().manual_seed(2)).cumsum(dim=0)
    momentum = 0.5 ** (20 / 100 / steps)
    expected = torch.full((5,), 1000.0, dtype=torch.float64)
    for weights in path:
        follow(plain_student, plain, weights, momentum)
        follow(student, corrected, weights, momentum)
        expected = momentum * expected + (1 - momentum) * weights.double()
    left = 0.5**0.2
    assert corrected.start_weight == pytest.approx(left)
    assert torch.allclose(plain.average[0].double(), expected, atol=0.05)
    assert float(plain.average[0].mean()) > 800
    unbiased = (expected - left * 1000.0) / (1 - left)
    assert torch.allclose(corrected.average[0].double(), unbiased, atol=1e-3)


@pytest.mark.parametrize(
    ("convention", "error"), [("after", 2.8e-3), ("before", 2.9e-3), ("midpoint", 2.5e-5)]
)
def test_the_midpoint_keeps_the_average_where_it_is_as_batches_grow(
    convention: Convention, error: float
) -> None:
    """The noisy parabola at kappa = 256 with the student of kappa = 1: the error that is the average's own."""
    steps, seeds, rho, kappa = 40_960, 200, 0.9999, 256
    random = np.random.default_rng(0)
    theta = np.ones(seeds)
    fine, marks, means = np.ones(seeds), [], []
    student, average = follower(torch.ones(seeds), convention)
    for step in range(1, steps + 1):
        before = theta
        theta = theta - 1e-4 * theta * (1.0 + np.sqrt(0.5) * random.standard_normal(seeds))
        fine += (1.0 - rho) * ((theta + before) / 2 - fine)
        if step % kappa == 0:
            follow(student, average, torch.from_numpy(theta).float(), rho**kappa)
            marks.append(float(fine.mean()))
            means.append(float(average.average[0].mean()))
    distance = float(np.abs(np.array(marks) - np.array(means)).mean())
    assert distance == pytest.approx(error, rel=0.2)


def test_a_slow_average_loses_nothing_to_rounding() -> None:
    """At 1 - rho = 1e-5 fp32 loses a twentieth of a slow weight's way; by default that step is not taken."""
    batch_seconds = 10.0
    half_life = batch_seconds / 3600 * math.log(0.5) / math.log(1 - 1e-5)
    scaling, batch = {"reference_batch_seconds": batch_seconds}, {"batch_seconds": batch_seconds}
    lost = {}
    for interval in (0.0, None):
        teacher = {"half_life_hours": half_life, "update_interval_seconds": interval}
        recipe = parse_config({"scaling": scaling, "batch": batch, "teacher": teacher}, "test")
        schedule = TeacherSchedule.for_batch(recipe, batch_seconds)
        student, average = follower(torch.ones(64))
        steps, exact = 60_000, 1.0
        for step in range(1, steps + 1):
            update = schedule.consume(batch_seconds, step * batch_seconds / 3600)
            if update is not None:
                weight = 1.0 + 0.01 * step / steps
                exact = update.momentum * exact + (1 - update.momentum) * weight
                follow(student, average, torch.full((64,), weight), update.momentum)
        lost[interval] = abs(float(average.average[0].mean()) - exact) / (exact - 1.0)
    assert lost[0.0] > 0.02
    assert lost[None] < 0.005


def test_where_the_student_went_back_every_average_begins_anew() -> None:
    """One that is only shipped would hold NaN for ever."""
    student = Path(torch.ones(3))
    engine = SimpleNamespace(
        optimizer=torch.optim.SGD(student.parameters(), lr=1.0), zero_optimization_stage=lambda: 0
    )
    shards = Shards(dict(student.named_weights()), engine, ranks=1, rank=0)
    config = TeacherConfig(evaluation_half_life_hours=5.0)
    new_network: Any = lambda: Path(torch.ones(3))  # noqa: E731
    averages = Averages(config, new_network, shards, Ranks(0, 1, torch.device("cpu")))
    student.theta.data.fill_(float("nan"))
    averages.update(0.9, 0.99, (0.0, 0.1))
    assert not averages.is_finite()
    student.theta.data.fill_(2.0)
    averages.reset_to_student()
    assert averages.is_finite()
    averages.update(0.9, 0.99, (0.1, 0.2))
    for average in (averages.labelling, averages.shipped):
        assert average.average[0].tolist() == [2.0] * 3


@pytest.mark.parametrize("was_corrected", [True, False])
def test_a_plain_average_goes_on_as_one(was_corrected: bool) -> None:
    """Switched on at a resume, the correction would take out a start that is not there to be taken out."""
    student, before = follower(torch.full((2,), 8.0), has_bias_correction=was_corrected)
    follow(student, before, torch.zeros(2), 0.75)
    config, ranks = TeacherConfig(averaged_weights="after"), Ranks(0, 1, torch.device("cpu"))
    new_network: Any = lambda: Path(torch.zeros(2))  # noqa: E731
    averages = Averages(config, new_network, before.shards, ranks)
    state = {
        "has_bias_correction": was_corrected,
        "labelling_start_weight": before.start_weight,
        "shipped_start_weight": before.start_weight,
    }
    notes = averages.load(before.weights(), state, lambda name: {})
    assert len(notes) == (0 if was_corrected else 1)
    averages.update(0.75, 0.75, (0.1, 0.2))
    assert averages.shipped.average[0].tolist() == [0.0 if was_corrected else 4.5] * 2
