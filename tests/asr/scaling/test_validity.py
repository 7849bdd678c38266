"""The predicted length of steps against optimizers in float64 on a noisy quadratic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.scaling.rule import in_force
from asr.scaling.validity import GradientNoise, is_measured, step_deviation

REFERENCE_SECONDS, COORDINATES = 10.0, 400


def recipe(kind: str = "adam", clip: float = 0.0, **scaling: str) -> Config:
    optimizer = {"kind": kind, "learning_rate": 1e-5, "betas": [0.9, 0.99]}
    return parse_config(
        {
            "optimizer": {**optimizer, "max_gradient_norm": clip, "momentum": 0.0},
            "scaling": {"reference_batch_seconds": REFERENCE_SECONDS, **scaling},
            "batch": {"batch_seconds": REFERENCE_SECONDS},
        },
        "test",
    )


def share_of_the_way_left(config: Config, kappa: float, gradient: GradientNoise) -> float:
    """Mean of the coordinates of a quadratic, of 1 at first, after so much audio; its gradient at 1 is G."""
    values = in_force(config, kappa * REFERENCE_SECONDS)
    random = np.random.default_rng(0)
    curvature = math.sqrt(gradient.signal / COORDINATES)
    scatter = math.sqrt(gradient.noise / values.batch_seconds / COORDINATES)
    x, first, second = np.ones((3, COORDINATES))
    first *= 0.0
    second *= 0.0
    for step in range(1, round(4000 / kappa) + 1):
        g = curvature * x + scatter * random.standard_normal(COORDINATES)
        if values.max_gradient_norm:
            g *= min(1.0, values.max_gradient_norm / float(np.linalg.norm(g)))
        if values.betas is None:
            x -= values.learning_rate * g
            continue
        one, two = values.betas
        first = one * first + (1 - one) * g
        second = two * second + (1 - two) * g * g
        moments = first / (1 - one**step), second / (1 - two**step)
        x -= values.learning_rate * moments[0] / np.sqrt(moments[1])
    return float(x.mean())


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("noise_scale_seconds", [40.0, 400.0])
def test_adams_steps_are_as_much_shorter_as_the_signal_makes_them(
    clip: float, noise_scale_seconds: float
) -> None:
    config, gradient = recipe(clip=clip), GradientNoise(1.0, noise_scale_seconds)
    moved = {k: 1.0 - share_of_the_way_left(config, k, gradient) for k in (1.0, 4.0)}
    predicted = step_deviation(config, 40.0, gradient)
    assert predicted == pytest.approx(
        math.sqrt((1 + 10 / noise_scale_seconds) / (1 + 40 / noise_scale_seconds)) - 1
    )
    assert moved[4.0] / moved[1.0] - 1 == pytest.approx(predicted, abs=0.02)


@pytest.mark.parametrize(
    ("clip", "mode"), [(0.0, "none"), (0.5, "none"), (1.6, "none"), (0.5, "sqrt")]
)
def test_clipped_sgd_has_steps_of_a_fixed_length(clip: float, mode: str) -> None:
    config = recipe("sgd", clip, gradient_clipping=mode)
    gradient = GradientNoise(1.0, 40.0)
    moved = {k: 1.0 - share_of_the_way_left(config, k, gradient) for k in (1.0, 4.0)}
    predicted = step_deviation(config, 40.0, gradient)
    expected = {0.0: 0.0, 0.5: math.sqrt(5 / 2) - 1, 1.6: math.sqrt(5) / 1.6 - 1}[clip]
    if mode == "sqrt":
        expected = math.sqrt(5 / 2) / 2 - 1
    assert predicted == pytest.approx(expected)
    assert moved[4.0] / moved[1.0] - 1 == pytest.approx(predicted, abs=0.03)


def test_a_rate_that_is_not_scaled_counts_too() -> None:
    noise_only = GradientNoise(-1.0, 40.0)
    assert noise_only.scale_seconds is None
    assert noise_only.signal_share(40.0) == 0.0
    assert step_deviation(recipe(), 40.0, noise_only) == pytest.approx(0.0)
    assert step_deviation(recipe(rule="none"), 40.0, noise_only) == pytest.approx(-0.5)
    assert step_deviation(recipe(), 40.0, GradientNoise(0.0, 0.0)) is None


def test_at_the_noise_scale_half_of_the_second_moment_is_signal() -> None:
    assert GradientNoise(1.0, 40.0).signal_share(40.0) == pytest.approx(0.5)
    assert GradientNoise(1.0, 40.0).scale_seconds == 40.0


def test_the_number_of_measurements_does_not_depend_on_kappa_below_the_reference() -> None:
    config = recipe()

    def measured(batch_seconds: float, hours: float = 10.0) -> list[float]:
        starts = np.arange(0.0, hours * 3600, batch_seconds)
        return [s for s in starts if is_measured(config, batch_seconds, s, s + batch_seconds)]

    small, reference, large = (measured(batch) for batch in (2.5, 10.0, 80.0))
    assert len(reference) == len(small) == 10 * 3600 // 320
    assert len(large) == 10 * 3600 // 2560  # every 32nd batch: 3 % of them, whatever their size
    assert measured(80.0, 20.0)[: len(large)] == large
    off = config.model_copy(
        update={"trainer": config.trainer.model_copy(update={"noise_scale_every_batches": 0})}
    )
    assert not is_measured(off, 10.0, 0.0, 1e6)
