"""Speech of tones, of which all is known, and a CTC model that reads it, badly.

A letter is a tone of 40 ms and 20 ms of silence, a word ends with 100 ms more. The model sees each tone in its
first frame; some it takes for another letter, with the right one not far behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.errors import UserError
from asr.model.frame_readers.letters import forms, letters_of
from asr.model.tokenizer import CharacterTokenizer

RATE_HZ, FRAME = 16_000, 320
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
_HERTZ = {letter: 400 + 200 * place for place, letter in enumerate(LETTERS)}


def words(count: int, seed: int) -> list[str]:
    """Of a vocabulary of 600, in which short ones are frequent, as in a language."""
    random, alphabet = np.random.default_rng(7), list(LETTERS[:26])
    known = [
        "".join(random.choice(alphabet, size=2 + place % 3 + place // 100)) for place in range(600)
    ]
    share = 1 / (10 + np.arange(600))
    chosen = np.random.default_rng(seed).choice(600, size=count, p=share / share.sum())
    return [known[place] for place in chosen.tolist()]


def spoken(
    said: Sequence[str], seed: int = 0
) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """Samples, and where each word is in seconds; a pause after every eighth word or so."""
    random = np.random.default_rng(seed)
    parts, places, at = [np.zeros(RATE_HZ // 2)], list[tuple[float, float]](), RATE_HZ // 2
    time = np.arange(2 * FRAME) / RATE_HZ
    for word in said:
        tones = [
            np.concatenate([0.1 * np.sin(2 * np.pi * _HERTZ[one] * time), np.zeros(FRAME)])
            for one in word
        ]
        places.append((at / RATE_HZ, (at + len(tones) * 3 * FRAME) / RATE_HZ))
        pause = int(random.integers(20, 60)) if random.random() < 0.12 else 5
        parts += [*tones, np.zeros(pause * FRAME)]
        at += (3 * len(tones) + pause) * FRAME
    audio_N = np.concatenate(parts) + 1e-4 * random.standard_normal(sum(map(len, parts)))
    return audio_N.astype(np.float32), places


def write(path: Path, audio_N: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio_N, RATE_HZ)


@dataclass
class ToneReader:
    """A frame reader as `asr prepare align` wants one; its case is not that of the text."""

    error_share: float = 0.06
    """Of letters that it takes for others."""
    sample_rate_hz: int = RATE_HZ
    frame_samples: int = FRAME
    longest_seconds: float = 12.0
    stamp: Mapping[str, Any] = field(default_factory=lambda: {"kind": "tones"})
    tokenizer: CharacterTokenizer = field(default_factory=lambda: CharacterTokenizer(LETTERS))
    vocabulary_size: int = 2 + len(LETTERS)

    def logits(self, waveform_N: Tensor) -> Tensor:
        frames = len(waveform_N) // FRAME
        sound_SN = waveform_N[: frames * FRAME].view(frames, FRAME).numpy()
        spectra = np.abs(np.fft.rfft(sound_SN, 2 * FRAME))
        hertz = spectra.argmax(axis=1) * RATE_HZ / (2 * FRAME)
        is_loud = np.square(sound_SN).mean(axis=1) > 1e-4
        random = np.random.default_rng(int(1e6 * np.abs(sound_SN).sum()) % (1 << 31))
        logits_SV = random.normal(0, 0.5, (frames, self.vocabulary_size))
        logits_SV[:, 0] += 6
        for frame in np.flatnonzero(is_loud & ~np.append(False, is_loud[:-1])):
            place = round(float(hertz[frame] - 400) / 200)
            letter = 2 + min(max(place, 0), len(LETTERS) - 1)
            other = 2 + int(random.integers(len(LETTERS)))
            logits_SV[frame, 0] -= 8
            if random.random() < self.error_share:
                logits_SV[frame, other] += 5
                logits_SV[frame, letter] += 4
            else:
                logits_SV[frame, letter] += 6
        return torch.from_numpy(logits_SV).float()

    def letters(self, token: int) -> str:
        return "" if token == 0 else letters_of(self.tokenizer.piece(token))

    def spelt(self, word: str) -> list[int] | None:
        for form in forms(word):
            try:
                return self.tokenizer.encode(form)
            except UserError:
                continue
        return None


def roughened(said: Sequence[str], seed: int) -> tuple[list[str], list[int]]:
    """A transcript that lacks a tenth of the words and has a twentieth wrong; and each word's true place."""
    random, known = np.random.default_rng(seed), sorted(set(said))
    kept, places = list[str](), list[int]()
    for place, word in enumerate(said):
        draw = random.random()
        if draw < 0.10:
            continue
        kept.append(str(random.choice(known)) if draw < 0.15 else word)
        places.append(place)
    return kept, places
