"""How the rule scales SGD and LARS."""

from __future__ import annotations

import pytest
from scaling_helpers import REFERENCE_SECONDS, config

from asr.scaling.rule import in_force


@pytest.mark.parametrize("kind", ["sgd", "lars"])
def test_the_rate_is_scaled_linearly_and_nothing_else(kind: str) -> None:
    values = in_force(config(optimizer={"kind": kind, "weight_decay": 0.01}), 4 * REFERENCE_SECONDS)
    assert values.learning_rate == pytest.approx(4e-3)
    assert values.weight_decay == 0.01
    assert values.betas is None
