"""Long recordings whose truth is known: utterances of the LibriSpeech sample, with other things between.

The truth is by energy within each utterance: frames of 20 ms within 35 dB of its loud ones are speech, and so
are pauses under 0.5 s between them. What is around it is none: silence, music, noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16_000
_FRAME = 320
Audio = NDArray[np.float32]
Span = tuple[float, float]


def speech_spans(audio_N: Audio) -> list[Span]:
    """Of one utterance, in seconds."""
    frames = len(audio_N) // _FRAME
    energies = np.square(audio_N[: frames * _FRAME].reshape(frames, _FRAME)).mean(axis=1)
    level = 10 * np.log10(energies + 1e-12)
    loud = np.flatnonzero(level > np.percentile(level, 95) - 35)
    spans: list[Span] = []
    for frame in loud.tolist():
        begin, end = frame * _FRAME / RATE_HZ, (frame + 1) * _FRAME / RATE_HZ
        if spans and begin - spans[-1][1] < 0.5:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((begin, end))
    return spans


def music(seconds: float, random: np.random.Generator) -> Audio:
    """Chords of a few decaying partials, with a beat."""
    count = int(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    audio = np.zeros(count)
    for begin in np.arange(0, seconds, 0.5):
        root = 110 * 2 ** (random.integers(0, 24) / 12)
        since = np.clip(time - begin, 0, None)
        envelope = np.exp(-4 * since) * (time >= begin)
        for ratio in (1, 1.25, 1.5, 2, 3):
            audio += envelope * np.sin(2 * np.pi * root * ratio * since) / ratio
    return (0.08 * audio).astype(np.float32)


def noise(seconds: float, random: np.random.Generator) -> Audio:
    """Brownish, like wind or traffic."""
    white = random.standard_normal(int(seconds * RATE_HZ))
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(np.arange(len(spectrum)) + 50)
    audio = np.fft.irfft(spectrum, len(white))
    return (0.05 * audio / audio.std()).astype(np.float32)


def joined(
    utterances: list[Path], seconds: float, random: np.random.Generator
) -> tuple[Audio, list[Span]]:
    """A recording of about so many seconds, and where speech is in it."""
    parts, spans, at = list[Audio](), list[Span](), 0
    while at < seconds * RATE_HZ and utterances:
        path = utterances.pop(0)
        speech = soundfile.read(path, dtype="float32")[0]
        between: Audio = np.zeros(0, np.float32)
        kind = random.choice(4, p=(0.4, 0.3, 0.15, 0.15))
        if kind == 1:
            between = 1e-4 * random.standard_normal(int(random.uniform(0.7, 6) * RATE_HZ))
        elif kind == 2:
            between = music(random.uniform(3, 15), random)
        elif kind == 3:
            between = noise(random.uniform(3, 15), random)
        spans += [(at / RATE_HZ + b, at / RATE_HZ + e) for b, e in speech_spans(speech)]
        parts += [speech, between.astype(np.float32)]
        at += len(speech) + len(between)
    return np.concatenate(parts), spans


def mask(spans: list[Span], seconds: float) -> NDArray[np.bool_]:
    """By hundredths of a second."""
    found = np.zeros(int(100 * seconds) + 1, np.bool_)
    for begin, end in spans:
        found[round(100 * begin) : round(100 * end)] = True
    return found


def coverage(truth: list[Span], cuts: list[Span], seconds: float) -> tuple[float, float]:
    """(share of speech inside of cuts, share of the cuts' time that is none)."""
    speech, cut = mask(truth, seconds), mask(cuts, seconds)
    return float((speech & cut).sum() / speech.sum()), float((cut & ~speech).sum() / cut.sum())


def write_mp3(path: Path, audio_N: Audio) -> None:
    """Of 16 kHz mono."""
    soundfile.write(path, audio_N, RATE_HZ, format="MP3")
