"""Bands, codecs and rooms: what they do to a sound, and that they neither shift it nor change its length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sound_helpers import RATE_HZ, hiss

from asr.data.sound.channels import band_passed, check_codec_rate, coded
from asr.data.sound.rooms import SimulatedRooms, reverberated
from asr.errors import UserError

CODECS = ("mu_law", "gsm", "mp3", "vorbis", "opus")


def power_db(audio_N: np.ndarray, low_hz: float, high_hz: float) -> float:
    """In a band."""
    spectrum = np.abs(np.fft.rfft(audio_N)) ** 2
    hz = np.fft.rfftfreq(len(audio_N), 1 / RATE_HZ)
    return float(10 * np.log10(spectrum[(hz >= low_hz) & (hz < high_hz)].mean()))


def lag(late_N: np.ndarray, audio_N: np.ndarray) -> int:
    """By how many samples the one comes after the other."""
    size = 2 * len(audio_N)
    product = np.fft.rfft(late_N, size) * np.conj(np.fft.rfft(audio_N, size))
    best = int(np.fft.irfft(product).argmax())
    return best if best < len(audio_N) else best - size


def test_a_band_is_what_is_left() -> None:
    audio_N = hiss(4.0)
    passed_N = band_passed(audio_N, RATE_HZ, 300.0, 3400.0)
    assert len(passed_N) == len(audio_N)
    lost = [
        power_db(audio_N, *band) - power_db(passed_N, *band)
        for band in ((20, 75), (900, 1100), (6700, 7000))
    ]
    assert lost[0] > 20
    assert lost[1] == pytest.approx(0, abs=0.5)
    assert lost[2] > 12


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("samples", [1_000, 16_123])
def test_a_codec_keeps_time(kind: str, samples: int) -> None:
    time = np.arange(samples) / RATE_HZ
    chirp_N = (1.5 * np.sin(2 * np.pi * (300 + 900 * time) * time)).astype(np.float32)
    coded_N = coded(chirp_N, RATE_HZ, kind, 0.5)
    assert len(coded_N) == samples
    assert coded_N.dtype == np.float32
    assert lag(coded_N, chirp_N) == 0
    likeness = np.corrcoef(coded_N, chirp_N)[0, 1]
    assert 0.8 < likeness < 1.0
    # What is beyond full scale is not clipped.
    assert coded_N.std() == pytest.approx(chirp_N.std(), rel=0.25)


@pytest.mark.parametrize("kind", ["mu_law", "gsm"])
def test_a_telephone_has_nothing_above_4_khz(kind: str) -> None:
    coded_N = coded(hiss(2.0), RATE_HZ, kind, 0.5)
    assert power_db(coded_N, 1000, 3000) - power_db(coded_N, 4500, 7500) > 20


def test_a_codec_that_takes_another_rate_is_refused() -> None:
    check_codec_rate("mp3", 16_000)
    with pytest.raises(UserError, match=r"opus takes no audio of features\.sample_rate_hz 22050"):
        check_codec_rate("opus", 22_050)


def test_a_room_reverberates_and_keeps_time_and_loudness() -> None:
    rooms = SimulatedRooms(4, 0.8, RATE_HZ, seed=1)
    random = np.random.default_rng(0)
    # A click, silence, and a click so near to the end that its reverberation is cut off.
    clicks_N = np.zeros(2 * RATE_HZ, np.float32)
    clicks_N[[1000, 2 * RATE_HZ - 10]] = 1.0
    wet_N = reverberated(clicks_N, rooms.response(random))
    assert len(wet_N) == len(clicks_N)
    assert wet_N.dtype == np.float32
    assert int(np.abs(wet_N[:4000]).argmax()) == 1000
    assert np.abs(wet_N[1100:3000]).max() > 1e-3
    audio_N = hiss(1.0)
    for _ in range(4):
        wet_N = reverberated(audio_N, rooms.response(random))
        assert np.mean(wet_N**2) == pytest.approx(np.mean(audio_N**2), rel=1e-3)


def test_the_direct_sound_may_be_negative() -> None:
    audio_N = hiss(1.0)
    response_K = np.zeros(500, np.float32)
    response_K[[100, 300]] = (-0.9, 0.3)
    assert abs(lag(-reverberated(audio_N, response_K), audio_N)) == 0


def test_a_room_is_a_function_of_the_seed_and_its_number() -> None:
    """Lhotse's generator draws from the global one of torch, too: that neither matters nor moves."""
    drawn = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)
        rooms = SimulatedRooms(1000, 0.8, RATE_HZ, seed=1)
        order = (3, 4, 3) if global_seed == 1 else (4, 3, 4)
        before = torch.get_rng_state()
        drawn.append({s: rooms.response(np.random.default_rng(s)) for s in order})
        assert torch.equal(torch.get_rng_state(), before)
    for number in (3, 4):
        assert np.array_equal(drawn[0][number], drawn[1][number])
    assert not np.array_equal(drawn[0][3], drawn[0][4])
    others = SimulatedRooms(1000, 0.8, RATE_HZ, seed=2)
    assert not np.array_equal(others.response(np.random.default_rng(3)), drawn[0][3])
