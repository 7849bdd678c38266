"""The gradient noise scale against a model whose noise and signal are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from asr.training.noise_scale import GradientNoiseScale, GradientSquares


@pytest.mark.parametrize("equal", [True, False])
def test_recovers_a_known_noise_scale(equal: bool) -> None:
    # 200 parameters; the gradient of one second is normal around G with variance `variance` in each.
    random = np.random.default_rng(0)
    signal, variance, width = 0.05, 0.7, 200
    mean = np.full(width, signal)
    scale = GradientNoiseScale()
    for _ in range(2000):
        seconds = np.full(4, 8.0) if equal else np.array([2.0, 5.0, 10.0, 15.0])
        shape = (4, width)
        parts = mean + random.standard_normal(shape) * np.sqrt(variance / seconds)[:, None]
        weights = seconds / seconds.sum()
        whole = weights @ parts
        small_square = float(weights @ np.square(parts).sum(axis=1))
        scale.observe(small_square, float(np.square(whole).sum()), 4, seconds.sum(), 1000.0)
    expected = width * variance / (width * signal**2)
    assert scale.seconds == pytest.approx(expected, rel=0.1)


def test_one_micro_batch_measures_nothing() -> None:
    scale = GradientNoiseScale()
    scale.observe(1.0, 1.0, 1, 30.0, 30.0)
    assert scale.seconds is None


def test_squares_are_those_of_each_backward_pass() -> None:
    model = nn.Linear(3, 2)
    squares = GradientSquares(model)
    found, expected = [], []
    for factor in (1.0, 3.0):
        model.zero_grad()
        (factor * model(torch.ones(1, 3)).sum()).backward()
        found.append(squares.take())
        expected.append(sum(float(p.grad.square().sum()) for p in model.parameters()))  # type: ignore[union-attr]
    assert found == pytest.approx(expected)
    model(torch.ones(1, 3)).sum().backward()  # accumulates: only the new part counts
    assert squares.take() == pytest.approx(expected[0])
