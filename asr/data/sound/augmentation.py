"""The student's waveforms, as the recipe's `augmentation:` changes them: a room, noise, a channel.

What is done to an utterance is a function of the run's seed and of its place in the stream, as with
SpecAugment: ranks, micro-batches, loader workers, kappa and a resume change nothing. Lhotse's own transforms
of cuts draw from generators that go on from cut to cut, and its rooms from torch's global one; so what they
are made of is called here, with a generator for each utterance and change.

Shape suffixes: B utterances, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from lhotse.audio.mixer import AudioMixer
from numpy.typing import NDArray
from torch import Tensor

from asr.config.schema import Config
from asr.data.segments import Segment
from asr.data.sound.channels import band_passed, check_codec_rate, coded
from asr.data.sound.recordings import Recordings
from asr.data.sound.rooms import RecordedRooms, Rooms, SimulatedRooms, reverberated
from asr.utils.seeds import SeedTag, generator

Audio = NDArray[np.float32]

CHANGES = ("reverberation", "noise", "band_pass", "codec", "volume")
"""In the order in which they are made. A change's place here is part of what it draws: none ever moves."""
_MOST_RESPONSE_SECONDS = (
    20.0  # the longest of cathedrals are half of it; what is longer is something else
)


class SoundAugmentation:
    """What is done to waveforms, behind the speed. Their lengths never change."""

    def __init__(self, config: Config) -> None:
        """Look through the sources of noise and rooms. Raises UserError for what cannot be used."""
        self._policy, self._seed = config.augmentation, config.seed
        self._rate_hz = config.features.sample_rate_hz
        self.changes = self._policy.changes
        """By name, with their probabilities."""
        self.recordings = {
            name: Recordings.found(
                sources,
                Path(config.corpus.directory),
                self._rate_hz,
                f"augmentation.{name}.sources",
                _MOST_RESPONSE_SECONDS if name == "reverberation" else math.inf,
            )
            for name in self.changes
            if (sources := getattr(getattr(self._policy, name), "sources", None))
        }
        """From which noise and rooms are drawn."""
        self._rooms = self._make_rooms()
        if "codec" in self.changes:
            for kind in self._policy.codec.kinds:
                check_codec_rate(kind, self._rate_hz)

    @classmethod
    def of(cls, config: Config) -> SoundAugmentation | None:
        """None where the recipe changes no waveform."""
        return cls(config) if config.augmentation.changes else None

    def __call__(
        self, waveforms_BN: Tensor, samples_B: Tensor, segments: Sequence[Segment]
    ) -> Tensor:
        """Other waveforms (B, N), fp32, zero where padded. What was given stays as it is."""
        changed_BN = torch.zeros_like(waveforms_BN)
        with one_thread():
            for place, (samples, segment) in enumerate(
                zip(samples_B.tolist(), segments, strict=True)
            ):
                audio_N = waveforms_BN[place, :samples].numpy()
                changed_BN[place, :samples] = torch.from_numpy(self.utterance(audio_N, segment))
        return changed_BN

    def utterance(self, audio_N: Audio, segment: Segment) -> Audio:
        """One utterance (N,), as its place in the stream has it."""
        for name, probability in self.changes.items():
            run_seed, *place = segment.seed(self._seed)
            random = generator(run_seed, SeedTag.SOUND, CHANGES.index(name), *place)
            if random.random() < probability:
                audio_N = self.changed(name, audio_N, random)
        return audio_N

    def changed(self, name: str, audio_N: Audio, random: np.random.Generator) -> Audio:
        """One change, by its name, of an utterance (N,)."""
        policy, rate = self._policy, self._rate_hz
        if name == "reverberation":
            return reverberated(audio_N, self._rooms.response(random))
        if name == "noise":
            return self._with_noise(audio_N, random)
        if name == "band_pass":
            ends = policy.band_pass.low_hz, policy.band_pass.high_hz
            low, high = (float(random.uniform(*end)) for end in ends)
            return band_passed(audio_N, rate, low, high)
        if name == "codec":
            kind = str(random.choice(policy.codec.kinds))
            return coded(audio_N, rate, kind, float(random.uniform(*policy.codec.compression)))
        gain_db = random.uniform(*policy.volume.gain_db)
        return audio_N * np.float32(10 ** (gain_db / 20))

    def _with_noise(self, audio_N: Audio, random: np.random.Generator) -> Audio:
        snr_db = float(random.uniform(*self._policy.noise.snr_db))
        mixer = AudioMixer(audio_N[None], self._rate_hz)
        if mixer.reference_energy <= 0:  # no noise has a ratio to silence
            return audio_N
        noise_N = self.recordings["noise"].piece(random, len(audio_N))
        mixer.add_to_mix(noise_N[None], snr=snr_db)
        mixed_N: Audio = mixer.mixed_audio[0]
        return mixed_N

    def _make_rooms(self) -> Rooms:
        if "reverberation" in self.recordings:
            return RecordedRooms(self.recordings["reverberation"])
        policy = self._policy.reverberation
        rooms, longest = policy.simulated_rooms, policy.longest_seconds
        return SimulatedRooms(rooms, longest, self._rate_hz, self._seed)


@contextmanager
def one_thread() -> Iterator[None]:
    """For what torch resamples: the last bits hang on the number of threads, and that on ranks and workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
