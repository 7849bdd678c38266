"""What is read of a whole file is what Lhotse reads of it; parts are in data_prep/test_segment.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from lhotse import Recording

from asr.data.reading import load_samples
from asr.data.sound.resampling import is_simple


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([8_000, 11_025, 16_000, 44_100]),
    st.integers(400, 40_000),
    st.sampled_from([0.9, 1.0, 1.1, 1.05]),
    st.sampled_from(["wav", "flac"]),
    st.integers(1, 2),
)
def test_samples_are_lhotses(
    tmp_path: Path,
    rate_hz: int,
    samples: int,
    speed: float,
    kind: str,
    channels: int,
) -> None:
    assume(is_simple(round(rate_hz * speed), rate_hz))  # others Lhotse cannot do in a gigabyte
    path = tmp_path / f"a.{kind}"
    noise = np.random.default_rng(samples).standard_normal((samples, channels)) / 9
    soundfile.write(path, noise, rate_hz)
    cut = Recording.from_file(path).to_cut()
    if channels > 1:
        cut = cut.to_mono()[1]
    expected = (cut if speed == 1.0 else cut.perturb_speed(speed)).load_audio()
    np.testing.assert_array_equal(load_samples(cut, speed), expected)


def test_a_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a tenth of a millisecond each time, and over a network much longer."""
    path, opened = tmp_path / "a.flac", []
    soundfile.write(path, np.zeros(16_000), 16_000)
    cut = Recording.from_file(path).to_cut()
    real = soundfile.SoundFile.__init__

    def opening(self: soundfile.SoundFile, *given: object, **named: object) -> None:
        opened.append(given[0])
        real(self, *given, **named)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", opening)
    load_samples(cut, 1.1)
    assert opened == [str(path)]
