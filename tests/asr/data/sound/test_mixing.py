"""Channels that cancel each other are heard; others are averaged as ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.data.audio import AudioArray, AudioFile, read_audio, stream_audio
from asr.data.sound.mixing import MixDown

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE))
    return samples.astype(np.float32)


def write(path: Path, *channels: NDArray[np.float32]) -> Path:
    soundfile.write(path, np.stack(channels, axis=1), RATE, subtype="FLOAT")
    return path


def test_a_channel_turned_over_is_heard(tmp_path: Path) -> None:
    speech, hiss = noise(2.0), 0.05 * noise(2.0, 1)
    path = write(tmp_path / "wrong_plug.wav", speech, hiss - speech)
    heard = read_audio(path, RATE).numpy()
    np.testing.assert_allclose(heard, speech - hiss / 2, atol=1e-6)
    array = AudioArray.checked(np.stack([speech, hiss - speech], axis=1), RATE)
    np.testing.assert_allclose(array.samples, heard, atol=1e-6)


def test_two_speakers_and_two_microphones_are_averaged(tmp_path: Path) -> None:
    one, other = noise(2.0), noise(2.0, 1)
    for number, second in enumerate((other, 0.8 * one + 0.2 * other, 0.6 * other - 0.4 * one)):
        path = write(tmp_path / f"{number}.wav", one, second)
        np.testing.assert_array_equal(
            read_audio(path, RATE).numpy(), np.stack([one, second], axis=1).mean(axis=1)
        )


def test_what_follows_silence_decides_and_little_is_held(tmp_path: Path) -> None:
    """A minute of silence, then two of speech: all of it alike, in blocks that come before the file ends."""
    silence, speech = np.zeros(70 * RATE, np.float32), noise(130.0)
    left = np.concatenate([silence, speech])
    path = write(tmp_path / "late.wav", left, -left)
    blocks = list(stream_audio(AudioFile(path), RATE))
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate(blocks), left)
    read = list[int]()

    def counted() -> Iterator[NDArray[np.float32]]:
        for number in range(20):
            read.append(number)
            yield np.stack([speech[: 10 * RATE], -speech[: 10 * RATE]], axis=1)

    mixed = MixDown(RATE).blocks(counted())
    next(mixed)
    assert len(read) == 6  # a minute


@pytest.mark.parametrize("channels", [1, 3])
def test_silence_and_single_channels_have_signs_of_one(tmp_path: Path, channels: int) -> None:
    path = write(tmp_path / "none.wav", *[np.zeros(RATE, np.float32)] * channels)
    assert not read_audio(path, RATE).any()
