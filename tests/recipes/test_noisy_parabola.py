"""The paper's toy: the rule keeps the average's path, no scaling does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "recipes" / "noisy_parabola" / "noisy_parabola.py"
_spec = importlib.util.spec_from_file_location("noisy_parabola", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def test_the_rule_beats_no_scaling_fiftyfold() -> None:
    found = toy.errors(seeds=200)
    for kappa in (16, 256):
        assert found["no scaling"][kappa] > 50 * found["the rule"][kappa]
        assert found["the rule"][kappa] <= found["linear form"][kappa]


def test_without_noise_the_path_is_that_of_a_recursion_by_hand() -> None:
    mean = toy.trajectories(4, np.zeros((toy.BASE_STEPS, 1)))
    theta, average = 1.0, 1.0
    for _ in range(toy.BASE_STEPS // 4):
        theta -= 4 * 1e-4 * theta
        average = 0.9999**4 * average + (1 - 0.9999**4) * theta
    assert mean["the rule"][-1] == pytest.approx(average, rel=1e-9)
