"""What a recipe can ask for of the student's sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.config.recipe import load_config
from asr.errors import UserError


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("augmentation.noise.probability=0.5", "0.5 needs sources: name a folder of noise"),
        ("augmentation.noise.snr_db=[20, 5]", "snr_db [20, 5] must ascend"),
        ("augmentation.noise.snr_db=[-1000, 5]", "snr_db [-1000, 5] must lie in -100 to 100"),
        ("augmentation.noise.snr_db=[.nan, 5]", "augmentation.noise.snr_db.0' (received nan)"),
        ("augmentation.noise={probability: -0.1}", "augmentation.noise.probability"),
        ("augmentation.volume.gain_db=[5, 2000]", "gain_db [5, 2000] must lie in -100 to 100"),
        ("augmentation.codec.kinds=[amr]", "augmentation.codec.kinds"),
        ("augmentation.codec.compression=[0.5, 2]", "must lie in 0 to 1"),
        ("augmentation.volume.gain=3", "did you mean 'augmentation.volume.gain_db'?"),
        (
            "augmentation.band_pass={probability: 0.1, high_hz: [3000, 8000]}",
            "high_hz ends at 8000, and must be below half of features.sample_rate_hz, 8000",
        ),
        ("augmentation.band_pass.low_hz=[50, 3000]", "end below high_hz"),
    ],
)
def test_settings_that_cannot_be(recipe: Path, setting: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(recipe, [setting])
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["reverberation", "band_pass", "codec", "volume"])
def test_stored_features_have_no_sound(recipe: Path, name: str) -> None:
    settings = ["features.source=precomputed", "augmentation.speed_factors=[1.0]"]
    with pytest.raises(UserError, match=f"{name}.probability 0.2 needs features.source=waveform"):
        load_config(recipe, [*settings, f"augmentation.{name}.probability=0.2"])
