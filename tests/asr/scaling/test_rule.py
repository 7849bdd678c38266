"""The rule against a table computed by hand formulas in float64, and its invariants."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.cli import plan
from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.scaling.card import plan_row, steps_for
from asr.scaling.clock import TeacherSchedule, learning_rate_share
from asr.scaling.conversions import (
    epoch_weight_from_half_life,
    half_life_from_epoch_weight,
    half_life_from_kaizen,
    half_life_from_momentum,
    kaizen_from_half_life,
    momentum_from_half_life,
)
from asr.scaling.rule import in_force, reference, scale_betas, teacher_momentum

REFERENCE_SECONDS = 100.0


def config(**sections: dict[str, object]) -> Config:
    tree: dict[str, object] = {
        "scaling": {"reference_batch_seconds": REFERENCE_SECONDS},
        "batch": {"batch_seconds_per_rank": REFERENCE_SECONDS, "group_seconds": 12.5},
        "teacher": {"half_life_hours": 10.0},
        "optimizer": {"kind": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}  # type: ignore[dict-item]
    return parse_config(tree, "test")


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
    assert values.weight_decay == 0.1
    assert values.max_gradient_norm == 1.0


def test_sgd_scales_the_rate_linearly() -> None:
    values = in_force(config(optimizer={"kind": "sgd"}), 4 * REFERENCE_SECONDS)
    assert values.learning_rate == pytest.approx(4e-3)
    assert values.betas is None


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


@given(st.lists(st.floats(1, 500), min_size=1, max_size=50), st.floats(0, 1000))
def test_the_schedule_forgets_no_audio(steps: list[float], interval: float) -> None:
    schedule = TeacherSchedule(half_life_hours=10.0, interval_seconds=interval)
    momenta = [schedule.consume(seconds) for seconds in steps]
    done = math.prod(momentum for momentum in momenta if momentum is not None)
    assert done == pytest.approx(teacher_momentum(sum(steps) - schedule.pending_seconds, 10.0))


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


@given(st.floats(0.01, 0.99999), st.integers(1, 100), st.floats(0.5, 5000))
def test_converters_return(momentum: float, steps: int, seconds: float) -> None:
    hours = half_life_from_momentum(momentum, seconds)
    assert momentum_from_half_life(hours, seconds) == pytest.approx(momentum)
    hours = half_life_from_kaizen(momentum, steps, seconds)
    assert kaizen_from_half_life(hours, steps, seconds) == pytest.approx(momentum)
    hours = half_life_from_epoch_weight(momentum, seconds)
    assert epoch_weight_from_half_life(hours, seconds) == pytest.approx(momentum)


def test_published_half_lives() -> None:
    # LANDSCAPE: slimIPL's EMA 0.999 at 3,200 s is 616 hours; MPL's w = 0.5 is one epoch.
    assert half_life_from_momentum(0.999, 3200) == pytest.approx(616, abs=0.5)
    assert half_life_from_epoch_weight(0.5, 960) == pytest.approx(960)


@pytest.mark.parametrize("momentum", [0.0, 1.0, -0.5, 1.5])
def test_a_momentum_outside_the_open_interval_is_refused(momentum: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        half_life_from_momentum(momentum, 100)


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


def test_the_plan_has_the_contract_s_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "scaling: {reference_batch_seconds: 100}\n"
        "batch: {batch_seconds_per_rank: 100, group_seconds: 100}\n"
        "corpus: {untranscribed: [x]}\n"
        "optimizer: {warmup_hours: 1}\n"
        "pseudo_label: {start_hours: 2}\n"
        "teacher: {half_life_hours: 10}\n"
        "trainer: {total_hours: 20}\n"
    )
    assert plan.main([str(recipe), "--ranks", "1,8", "--json"]) == 0
    one, eight = json.loads(capsys.readouterr().out)
    assert one["kappa"] == 1.0
    assert (one["warmup_steps"], one["pseudo_label_start_steps"], one["total_steps"]) == (
        36,
        72,
        720,
    )
    assert eight["kappa"] == 8.0
    assert eight["learning_rate"] == pytest.approx(1e-3 * math.sqrt(8))
    assert eight["teacher_momentum"] == pytest.approx(one["teacher_momentum"] ** 8)
    assert eight["total_steps"] == 90
    names = "ranks global_batch_seconds learning_rate betas eps weight_decay teacher_momentum "
    names += "teacher_update_steps half_life_hours"
    assert set(names.split()) <= one.keys()
    with pytest.raises(UserError, match="whole numbers"):
        plan.main([str(recipe), "--ranks", "1,zwei"])


@given(st.floats(0.1, 1e5), st.floats(1, 1e4))
def test_steps_cover_the_hours(hours: float, batch_seconds: float) -> None:
    steps = steps_for(hours, batch_seconds)
    assert steps * batch_seconds >= hours * 3600 * (1 - 1e-6)
    assert (steps - 1) * batch_seconds < hours * 3600


def test_plan_rows_follow_the_batch_not_the_ranks_when_it_is_global() -> None:
    recipe = config(batch={"batch_seconds_per_rank": None, "batch_seconds": 200.0})
    assert plan_row(recipe, 1)["kappa"] == plan_row(recipe, 64)["kappa"] == 2.0


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"]])
def test_help_and_plan_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from asr.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == 0
