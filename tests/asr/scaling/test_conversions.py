"""Published ways to state a teacher, converted and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UserError
from asr.scaling.conversions import (
    epoch_weight_from_half_life,
    half_life_from_epoch_weight,
    half_life_from_kaizen,
    half_life_from_momentum,
    kaizen_from_half_life,
    momentum_from_half_life,
)


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
