"""Where speech is, by frames of 32 ms: by Silero's network, or by energy alone.

Shape suffixes: N samples, W frames, L lanes.
"""

from __future__ import annotations

import importlib.util
import math
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.data.audio import AudioFile, stream_audio
from asr.data.quiet import frame_energies
from asr.errors import UserError

from ..journal import Outcome
from ..manifests import Utterance
from ..pipeline import NO_SPEECH
from ..recordings import check_one
from ..validate import SAMPLE_RATE_HZ

FRAME = 512
"""Samples at 16 kHz of a frame: what Silero's network takes at a time."""
FRAME_SECONDS = FRAME / SAMPLE_RATE_HZ

_LANE_FRAMES = 313
"""Ten seconds. The network remembers, and so goes from frame to frame; lanes go side by side, which is ten
times as fast, and each begins two seconds early, in which it gets to know what there is."""
_WARM_FRAMES = 62
_LANES = 64
_NEIGHBOURHOOD_FRAMES = 938
"""Thirty seconds."""
_LEAST_DYNAMIC_DB = 12.0
"""Speech has pauses, noise and silence have not."""
_THRESHOLD_SHARE = 0.45
"""Between the quiet and the loud of the neighbourhood, in dB."""
_SILENCE_DB = -65.0
_LEAST_SPEECH_SHARE = 0.05
"""Of a whole file: less is a door."""


@dataclass(frozen=True)
class Activity:
    """Of one recording."""

    speech_W: NDArray[np.float32]
    """From 0 to 1."""
    energies_W: NDArray[np.float32]
    """Mean squares."""
    samples: int
    """At 16 kHz."""


class VoiceActivity(ABC):
    """A recording in blocks (N,) at 16 kHz -> how likely each of its frames is speech; in bounded memory."""

    def of(self, blocks: Iterable[Tensor]) -> Activity:
        energies, speech, samples = list[Tensor](), list[Tensor](), 0
        for audio_N in _in_whole_frames(blocks, _LANES * _LANE_FRAMES * FRAME):
            samples += len(audio_N)
            padded_N = torch.nn.functional.pad(audio_N, (0, -len(audio_N) % FRAME))
            energies.append(frame_energies(padded_N, FRAME))
            speech.append(self._speech(padded_N))
        energies_W = torch.cat([torch.zeros(0), *energies]).numpy()
        speech_W = self._at_last(torch.cat([torch.zeros(0), *speech]).numpy(), energies_W)
        self._forget()
        return Activity(speech_W, energies_W, samples)

    @abstractmethod
    def _speech(self, audio_N: Tensor) -> Tensor:
        """(W,) of the next whole frames."""

    def _at_last(
        self, speech_W: NDArray[np.float32], energies_W: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return speech_W

    def _forget(self) -> None:
        """The recording ends."""


def _in_whole_frames(blocks: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Blocks of so many samples, and the rest."""
    pending, held = list[Tensor](), 0
    for block_N in blocks:
        pending.append(block_N)
        held += len(block_N)
        while held >= size:
            audio_N = torch.cat(pending)
            yield audio_N[:size]
            pending, held = [audio_N[size:]], held - size
    if held:
        yield torch.cat(pending)


class SileroActivity(VoiceActivity):
    """The network of the package silero-vad, which brings its weights. Music and noise are no speech to it."""

    def __init__(self) -> None:
        self.network = _silero()
        self._before_N = torch.zeros(_WARM_FRAMES * FRAME)

    @torch.inference_mode()
    def _speech(self, audio_N: Tensor) -> Tensor:
        frames = len(audio_N) // FRAME
        lanes = math.ceil(frames / _LANE_FRAMES)
        whole_N = torch.zeros((_WARM_FRAMES + lanes * _LANE_FRAMES) * FRAME)
        whole_N[: len(self._before_N)] = self._before_N
        whole_N[len(self._before_N) : len(self._before_N) + len(audio_N)] = audio_N
        steps = _WARM_FRAMES + _LANE_FRAMES
        lanes_LN = whole_N.unfold(0, steps * FRAME, _LANE_FRAMES * FRAME)
        self._before_N = torch.cat([self._before_N, audio_N])[-_WARM_FRAMES * FRAME :]
        self.network.reset_states()
        found = [
            self.network(lanes_LN[:, at * FRAME : (at + 1) * FRAME], SAMPLE_RATE_HZ)
            for at in range(steps)
        ]
        return torch.cat(found[_WARM_FRAMES:], dim=1).flatten()[:frames]

    def _forget(self) -> None:
        self._before_N = torch.zeros(_WARM_FRAMES * FRAME)


_of_thread = threading.local()


def _silero() -> Any:
    """One a thread: it holds what it remembers."""
    if not hasattr(_of_thread, "network"):
        _of_thread.network = _load_silero()
    return _of_thread.network


def _load_silero() -> Any:
    weights = _silero_weights()
    assert weights is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network: Any = torch.jit.load(str(weights))  # type: ignore[no-untyped-call]
        return network.eval()


def _silero_weights() -> Path | None:
    """Without importing the package: that would set the number of torch's threads."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "data" / "silero_vad.jit"
    return path if path.is_file() else None


class EnergyActivity(VoiceActivity):
    """What is clearly louder than the quiet of its half minute. Music that comes and goes is speech to it."""

    def _speech(self, audio_N: Tensor) -> Tensor:
        return torch.zeros(len(audio_N) // FRAME)

    def _at_last(
        self, speech_W: NDArray[np.float32], energies_W: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        level_W = 10 * np.log10(energies_W + 1e-12)
        found = np.zeros_like(speech_W)
        for begin in range(0, len(level_W), _NEIGHBOURHOOD_FRAMES):
            end = begin + _NEIGHBOURHOOD_FRAMES
            margin = _NEIGHBOURHOOD_FRAMES // 2
            around = level_W[max(0, begin - margin) : end + margin]
            quiet, loud = np.percentile(around, (10, 95))
            if loud - quiet >= _LEAST_DYNAMIC_DB:
                limit = max(_SILENCE_DB, quiet + _THRESHOLD_SHARE * (loud - quiet))
                found[begin:end] = level_W[begin:end] > limit
        return found


def chosen(name: str | None) -> str:
    """The detector of this name; at None silero where it is installed. Raises UserError where it is not."""
    has_silero = _silero_weights() is not None
    if name is None:
        return "silero" if has_silero else "energy"
    if name == "silero" and not has_silero:
        raise UserError(
            "--vad silero: the package silero-vad is not installed",
            "pip install 'asr-ema[vad]', or --vad energy, which takes music and noise for speech",
        )
    return name


def voice_activity(name: str) -> VoiceActivity:
    """By a name that `chosen` gave."""
    return SileroActivity() if name == "silero" else EnergyActivity()


def check_speech(utterance: Utterance, output: Path, vad: str) -> Outcome:
    """As every recording is checked; and one without a transcript must hold speech."""
    from .utterances import speech_seconds

    outcome = check_one(utterance, output)
    if outcome.reason or utterance.text is not None:
        return outcome
    blocks = stream_audio(AudioFile.named(Path(outcome.path)), SAMPLE_RATE_HZ)
    activity = voice_activity(vad).of(blocks)
    spoken, seconds = speech_seconds(activity), activity.samples / SAMPLE_RATE_HZ
    if spoken >= _LEAST_SPEECH_SHARE * seconds:
        return outcome
    if outcome.converted:
        Path(outcome.path).unlink()
    detail = f"{spoken:.1f} s of speech found in {seconds:.1f} s ({vad})"
    return Outcome(reason=NO_SPEECH, detail=detail)
