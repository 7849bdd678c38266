"""The rule against a table computed by hand formulas in float64, and its invariants."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_helpers import REFERENCE_SECONDS, config

from asr.errors import UserError
from asr.scaling.rule import in_force, reference, scale_betas, teacher_momentum

kappas = st.floats(0.01, 9.0)
durations = st.floats(0.1, 1e6)

# kappa, lr sqrt(k), 1 - k(1 - b) twice, eps / sqrt(k), 0.5^(k 100 / 36000) by a 30-digit decimal.
TABLE = [
    (0.25, 0.0005, 0.975, 0.99975, 2e-8, 0.999518763622666259584766),
    (1.0, 0.001, 0.9, 0.999, 1e-8, 0.998076443575628738848050),
    (4.0, 0.002, 0.6, 0.996, 5e-9, 0.992327946262943481025535),
]


@pytest.mark.parametrize(("kappa", "rate", "beta1", "beta2", "eps", "rho"), TABLE)
def test_adam_matches_the_hand_computed_table(
    kappa: float, rate: float, beta1: float, beta2: float, eps: float, rho: float
) -> None:
    values = in_force(config(), kappa * REFERENCE_SECONDS)
    assert values.learning_rate == pytest.approx(rate, rel=1e-12)
    assert values.betas == pytest.approx((beta1, beta2), rel=1e-12)
    assert values.eps == pytest.approx(eps, rel=1e-12)
    assert values.teacher_momentum == pytest.approx(rho, rel=1e-12)
    assert values.weight_decay == pytest.approx(0.1 * kappa**0.5)
    assert values.max_gradient_norm == 1.0


@given(kappas)
def test_options(kappa: float) -> None:
    options = {"weight_decay": "sqrt", "gradient_clipping": "sqrt", "betas": "half_life"}
    values = in_force(config(scaling=options), kappa * REFERENCE_SECONDS)
    assert values.weight_decay * values.learning_rate == pytest.approx(0.1 * 1e-3 * kappa)
    assert values.max_gradient_norm == pytest.approx(1 / math.sqrt(kappa))
    assert values.betas == pytest.approx((0.9**kappa, 0.999**kappa))


@pytest.mark.parametrize("rule", ["full", "optimizer_only", "none"])
def test_kappa_one_is_the_identity(rule: str) -> None:
    recipe = config(scaling={"rule": rule})
    assert in_force(recipe, REFERENCE_SECONDS) == reference(recipe)


@given(kappas)
def test_kappa_then_its_inverse_returns(kappa: float) -> None:
    there = in_force(config(), kappa * REFERENCE_SECONDS)
    assert there.betas is not None
    moved = config(
        scaling={"reference_batch_seconds": kappa * REFERENCE_SECONDS},
        optimizer={
            "learning_rate": there.learning_rate,
            "betas": list(there.betas),
            "eps": there.eps,
        },
    )
    back, start = in_force(moved, REFERENCE_SECONDS), reference(config())
    assert back.learning_rate == pytest.approx(start.learning_rate)
    assert back.betas == pytest.approx(start.betas)
    assert back.eps == pytest.approx(start.eps)
    assert back.teacher_momentum == pytest.approx(start.teacher_momentum)


@given(st.lists(durations, min_size=1, max_size=20), st.floats(0.1, 1e4))
def test_momentum_over_any_split_is_that_of_the_whole(parts: list[float], hours: float) -> None:
    product = math.prod(teacher_momentum(seconds, hours) for seconds in parts)
    assert product == pytest.approx(teacher_momentum(sum(parts), hours), rel=1e-9, abs=1e-300)


@given(kappas, st.floats(0, 1000))
def test_half_life_in_audio_does_not_depend_on_kappa_or_interval(
    kappa: float, interval: float
) -> None:
    recipe = config(teacher={"update_interval_seconds": interval})
    values = in_force(recipe, kappa * REFERENCE_SECONDS)
    updates = 36_000 / (values.teacher_update_steps * values.batch_seconds)
    assert values.teacher_momentum**updates == pytest.approx(0.5)
    assert values.teacher_update_steps >= 1


def test_ablations_leave_out_what_they_say() -> None:
    full, optimizer_only, none = (
        in_force(config(scaling={"rule": rule}), 4 * REFERENCE_SECONDS)
        for rule in ("full", "optimizer_only", "none")
    )
    base = reference(config())
    assert optimizer_only.learning_rate == full.learning_rate != base.learning_rate
    assert optimizer_only.teacher_momentum == pytest.approx(base.teacher_momentum)
    assert none.learning_rate == base.learning_rate
    assert none.betas == base.betas
    assert none.teacher_momentum == pytest.approx(base.teacher_momentum)


def test_an_impossible_beta_names_the_largest_kappa_and_the_option() -> None:
    with pytest.raises(UserError, match=r"below 10\b.*scaling\.betas=half_life"):
        scale_betas((0.9, 0.999), 10.0, "linear")
    assert scale_betas((0.9, 0.999), 10.0, "half_life") == pytest.approx((0.9**10, 0.999**10))


def test_weights_decay_by_the_same_share_an_hour_at_every_kappa() -> None:
    """By default; unscaled they lost 6, 3, 1.5 and 0.75e-4 a reference batch at kappa 1/4, 1, 4, 16."""
    optimizer = {"learning_rate": 1e-3, "weight_decay": 0.3, "betas": [0.95, 0.99]}
    for kappa, unscaled in ((0.25, 6e-4), (1.0, 3e-4), (4.0, 1.5e-4), (16.0, 0.75e-4)):
        for policy, expected in ((None, 3e-4), ("none", unscaled)):
            scaling = {} if policy is None else {"weight_decay": policy}
            recipe = config(optimizer=optimizer, scaling=scaling)
            values = in_force(recipe, kappa * REFERENCE_SECONDS)
            assert values.learning_rate * values.weight_decay / kappa == pytest.approx(expected)


def test_small_batches_update_the_average_once_a_reference_batch() -> None:
    """By default: a step of 1 - rho below 1e-4 would be lost to fp32. The momentum is the product's."""
    recipe = config(teacher={"update_interval_seconds": None})
    for kappa, steps in ((1 / 8, 8), (1 / 2, 2), (1.0, 1), (8.0, 1)):
        values = in_force(recipe, kappa * REFERENCE_SECONDS)
        assert values.teacher_update_steps == steps
        assert values.teacher_momentum == pytest.approx(0.5 ** (steps * kappa / 360))
    slow = config(teacher={"update_interval_seconds": None, "half_life_hours": 5000})
    values = in_force(slow, REFERENCE_SECONDS)
    assert 1 - values.teacher_momentum == pytest.approx(1e-4, rel=0.05)
