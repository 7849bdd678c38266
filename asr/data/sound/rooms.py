"""Rooms: impulse responses, simulated or recorded, and speech in them.

Shape suffixes: N samples, K samples of an impulse response.
"""

from __future__ import annotations

import numpy as np
import torch
from lhotse.augmentation.utils import FastRandomRIRGenerator, next_fast_len
from numpy.typing import NDArray

from asr.data.sound.recordings import Recordings
from asr.utils.seeds import SeedTag, generator

Audio = NDArray[np.float32]
_ROOMS = 100
"""What is drawn for a room, besides those of the changes."""


class SimulatedRooms:
    """Room number 0, 1, ...: each a function of the run's seed and its number, made when first asked for.

    FRA-RIR, a fast random approximation of the image-source method (arXiv 2208.04101), as Lhotse has it.
    """

    def __init__(self, rooms: int, longest_seconds: float, rate_hz: int, seed: int) -> None:
        """`longest_seconds`: the longest reverberation time, T60."""
        self._rooms, self._longest_seconds, self._rate_hz = rooms, longest_seconds, rate_hz
        self._seed = seed
        self._made: dict[int, Audio] = {}

    def response(self, random: np.random.Generator) -> Audio:
        """Of a room that is drawn, (K,)."""
        number = int(random.integers(self._rooms))
        if number not in self._made:
            self._made[number] = self._make(number)
        return self._made[number]

    def _make(self, number: int) -> Audio:
        own = generator(self._seed, SeedTag.SOUND, _ROOMS, number)
        room_seed, source_seed, torch_seed = own.integers(1 << 62, size=3).tolist()
        make = FastRandomRIRGenerator(
            sr=self._rate_hz,
            max_T60=self._longest_seconds,
            room_seed=room_seed,
            source_seed=source_seed,
        )
        with torch.random.fork_rng(devices=[]):  # it also draws from torch's own generator
            torch.manual_seed(torch_seed)
            response_K: Audio = make(nsource=1)[0]
        return response_K


class RecordedRooms:
    """Impulse responses that somebody has recorded."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings

    def response(self, random: np.random.Generator) -> Audio:
        """Of a room that is drawn, (K,)."""
        return self._recordings.whole(int(random.integers(len(self._recordings))))


Rooms = SimulatedRooms | RecordedRooms


def reverberated(audio_N: Audio, response_K: Audio) -> Audio:
    """Speech (N,) as it sounds in a room: as long, as loud, and not later.

    As Kaldi's wav-reverberate --shift-output: what comes before the response's peak, which is the direct sound,
    and what is left behind the utterance's end are cut off.
    """
    count = len(audio_N)
    size = next_fast_len(count + len(response_K) - 1)
    # By numpy: torch's transform gives other bits with other numbers of threads, and is slower here.
    spectrum = np.fft.rfft(audio_N, size) * np.fft.rfft(response_K, size)
    direct = int(np.abs(response_K).argmax())
    wet_N = np.fft.irfft(spectrum, size)[direct : direct + count]
    power, wet_power = _power(audio_N), _power(wet_N)
    if not wet_power > 0:
        return audio_N
    loud_N: Audio = (wet_N * np.sqrt(power / wet_power)).astype(np.float32)
    return loud_N


def _power(audio_N: NDArray[np.floating]) -> float:
    return float(np.mean(np.square(audio_N, dtype=np.float64)))
