"""How the rule scales SGD."""

from __future__ import annotations

import pytest
from scaling_helpers import REFERENCE_SECONDS, config

from asr.scaling.rule import in_force


def test_sgd_scales_the_rate_linearly() -> None:
    values = in_force(config(optimizer={"kind": "sgd"}), 4 * REFERENCE_SECONDS)
    assert values.learning_rate == pytest.approx(4e-3)
    assert values.betas is None
