"""Adam's steps are of the right length from the first one after kappa changes, clipped or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_helpers import config

from asr.scaling.rule import Hyperparameters, in_force
from asr.scaling.second_moment import norms_at, second_moment_factor

SIZE, BEFORE, AFTER = 400, 300, 200


def adam(
    values: list[Hyperparameters], factor: float | None, seed: int = 0
) -> tuple[list[float], list[float]]:
    """Lengths of Adam's steps in float64 on noise, and the norms of its gradients.

    The first BEFORE steps are of values[0], the others of values[1]; between them the second moment is
    multiplied by `factor` (None: kappa does not change, all steps are of values[1]).
    """
    random = np.random.default_rng(seed)
    first = np.zeros(SIZE)
    second = np.zeros(SIZE)
    lengths, norms = [], []
    for step in range(BEFORE + AFTER):
        now = values[0] if step < BEFORE and factor is not None else values[1]
        if step == BEFORE and factor is not None:
            second *= factor
        assert now.betas is not None
        noise = random.standard_normal(SIZE) / np.sqrt(now.batch_seconds)
        norms.append(float(np.linalg.norm(noise)))
        threshold = now.max_gradient_norm or np.inf
        gradient = noise * min(1.0, threshold / norms[-1])
        first = now.betas[0] * first + (1 - now.betas[0]) * gradient
        second = now.betas[1] * second + (1 - now.betas[1]) * gradient**2
        lengths.append(float(np.linalg.norm(now.learning_rate * first / np.sqrt(second + 1e-30))))
    return lengths, norms


@pytest.mark.parametrize("threshold", [0.0, 0.01, 1.5], ids=["never", "always", "at_first"])
def test_the_first_steps_after_a_jump_are_as_long_as_the_later_ones(threshold: float) -> None:
    """From 1 to 8 with gradients that are always clipped they were 1.8 times too long, divided by kappa."""
    optimizer = {"betas": [0.97, 0.99], "max_gradient_norm": threshold, "learning_rate": 1.0}
    values = [in_force(config(optimizer=optimizer), kappa * 100.0) for kappa in (1.0, 8.0)]
    norms = adam(values, 1.0)[1][:BEFORE]
    factor = second_moment_factor(norms[-32:], 8.0, threshold, threshold)
    settled = float(np.mean(adam(values, None)[0][-100:]))

    def first_steps(factor: float) -> float:
        return float(
            np.mean([adam(values, factor, s)[0][BEFORE + 1 : BEFORE + 5] for s in range(4)])
        )

    assert first_steps(factor) / settled == pytest.approx(1.0, abs=0.12)
    if threshold == 0.01:
        assert first_steps(1 / 8) / settled > 1.5
    if threshold == 0.0:
        assert factor == pytest.approx(1 / 8)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40), st.floats(0.1, 16), st.floats(0, 5))
def test_there_and_back_is_nothing(norms: list[float], growth: float, threshold: float) -> None:
    there = second_moment_factor(norms, growth, threshold, threshold)
    back = second_moment_factor(norms_at(norms, growth), 1 / growth, threshold, threshold)
    assert there * back == pytest.approx(1.0)
    assert min(1.0, 1 / growth) - 1e-9 <= there <= max(1.0, 1 / growth) + 1e-9


def test_without_gradients_it_is_the_rule() -> None:
    assert second_moment_factor([], 8.0, 1.0, 1.0) == 1 / 8
