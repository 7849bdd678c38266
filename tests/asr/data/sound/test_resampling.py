"""Any two rates, in little memory: whole, in blocks, in parts, faster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import Recording

import asr.decoding.decode_dataset as decoding
from asr.data.audio import resampled
from asr.data.audio_parts import Span, resampled_part
from asr.data.reading import load_samples
from asr.data.sound.resampling import is_simple, resample

RATE = 16_000


def tone(rate: int, seconds: int, hertz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(rate * seconds) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 44_100, 8_011, 22_257, 47_999])
def test_blocks_and_parts_are_those_of_the_whole(rate: int) -> None:
    assert is_simple(rate, RATE) == (rate in (8_000, 44_100))
    audio_N = tone(rate, 12)
    whole_N = resample(audio_N, rate, RATE)
    assert np.abs(whole_N - tone(RATE, 12))[800:-800].max() < 2e-3
    blocks = (torch.from_numpy(audio_N[n : n + 5 * rate]) for n in range(0, len(audio_N), 5 * rate))
    joined_N = torch.cat(list(resampled(blocks, rate, RATE))).numpy()
    np.testing.assert_allclose(joined_N, whole_N, atol=1e-5)
    for first, count in ((0, 3_000), (50_077, 9_000), (11 * RATE, RATE)):
        span = Span.around(first, count, rate, RATE, len(audio_N))
        heard_N = audio_N[span.first : span.first + span.count]
        part_N = resampled_part(heard_N, span, first, count, rate, RATE)
        np.testing.assert_allclose(part_N, whole_N[first : first + count], atol=1e-5)


@pytest.mark.parametrize("speed", [0.9, 1.1, 1.00007])
def test_speed_is_any_number(tmp_path: Path, speed: float) -> None:
    soundfile.write(tmp_path / "a.wav", tone(RATE, 2), RATE, subtype="FLOAT")
    cut = Recording.from_file(tmp_path / "a.wav").to_cut()
    [faster_N] = load_samples(cut, speed)
    assert abs(len(faster_N) - 2 * RATE / speed) < 2
    expected_N = tone(RATE, 3, 440.0 * round(RATE * speed) / RATE)[: len(faster_N)]
    assert np.abs(faster_N - expected_N)[800:-800].max() < 2e-3


def test_cuts_of_such_a_rate_are_decoded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(8_011, 2), 8_011, subtype="FLOAT")
    cut = Recording.from_file(tmp_path / "a.wav").to_cut()
    speech = decoding.CutsInMemory.of([cut], RATE)
    [audio_N] = load_samples(speech.cuts[0])
    assert np.abs(audio_N - tone(RATE, 2))[800:-800].max() < 2e-3
