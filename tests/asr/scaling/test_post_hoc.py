"""Averages that are made after the run, against those that were kept up during it, in float64."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scaling_helpers import config

from asr.scaling.half_life import HalfLife
from asr.scaling.post_hoc import KeptAverage, fit, post_hoc_plan

SIZE = 200


def students(kind: str, updates: int) -> np.ndarray:
    random = np.random.default_rng(3)
    noise = random.standard_normal((updates, SIZE))
    if kind == "walk":
        return noise.cumsum(axis=0)
    trend = np.exp(-np.linspace(0, 8, updates))[:, None] * random.standard_normal(SIZE)
    return trend + 0.02 * noise


@pytest.mark.parametrize("kind", ["walk", "settling"])
@pytest.mark.parametrize("share_of_run", [1 / 100, 1 / 16, 1 / 2])
@pytest.mark.parametrize("has_bias_correction", [True, False])
def test_any_half_life_within_four_times_the_recipes(
    kind: str, share_of_run: float, has_bias_correction: bool
) -> None:
    """Batches grow in the middle; what is made is within 2 % of what a run with that half-life has."""
    spans = np.concatenate([np.full(1200, 0.01), np.full(400, 0.02)])
    hours = spans.cumsum()
    total = float(hours[-1])
    path, start = students(kind, len(hours)), np.full(SIZE, 3.0)
    half_life = share_of_run * total
    recipe = config(teacher={"half_life_hours": half_life}, trainer={"total_hours": total})
    plan = post_hoc_plan(recipe)
    averages = [start.copy() for _ in plan.exponents]
    snapshots = {0: (0.0, [start.copy()])}
    for (before, now), student in zip(pairwise([0.0, *hours]), path, strict=True):
        for exponent, average in zip(plan.exponents, averages, strict=True):
            average += (1 - (before / now) ** (exponent + 1)) * (student - average)
        number = plan.number_at(now)
        if number > plan.number_at(before):
            snapshots[number] = (now, [a.copy() for a in averages])
            snapshots = {n: snapshots[n] for n in plan.kept_of(snapshots.keys())}
    snapshots[-1] = (total, averages)
    assert len(snapshots) <= 52
    kept = [
        KeptAverage(at, exponent)
        for number, (at, _) in snapshots.items()
        for exponent in (plan.exponents if number else [np.inf])
    ]
    values = np.array([average for _, pair in snapshots.values() for average in pair])
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        wanted = HalfLife(((0.0, factor * half_life),))
        found = fit(kept, wanted, list(hours), has_bias_correction)
        expected, left = start.copy(), 1.0
        for (before, now), student in zip(pairwise([0.0, *hours]), path, strict=True):
            momentum = wanted.momentum(before, now)
            expected += (1 - momentum) * (student - expected)
            left *= momentum
        if has_bias_correction:
            expected = (expected - left * start) / (1 - left)
        distance = np.linalg.norm(expected - path[-1])
        assert np.linalg.norm(found.coefficients @ values - expected) / distance < 0.02, factor
        assert found.error < 0.02


def test_what_the_snapshots_do_not_hold_is_said() -> None:
    kept = [KeptAverage(10.0, 1.0), KeptAverage(10.0, 4.0)]
    hours = list(np.linspace(0.01, 10, 1000))
    assert fit(kept, HalfLife(((0.0, 0.05),)), hours, True).error > 0.2


def test_where_batches_are_larger_than_the_spacing_no_snapshot_is_missed() -> None:
    """Numbers then have gaps, and thinning by number deleted more than half of them."""
    plan = post_hoc_plan(config(trainer={"total_hours": 100.0}))
    assert plan.kept_of(range(5, 105, 7)) == set(range(5, 105, 7)) - {19}
    assert plan.kept_of(range(20)) == set(range(20))
    assert len(plan.kept_of(range(400))) < 64
