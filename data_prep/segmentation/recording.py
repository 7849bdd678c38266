"""One recording -> where its utterances are, and proof that each can be loaded from where it is.

Shape suffixes: N samples, C channels.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from asr.data.audio import resampled, resampling_units
from asr.data.audio_parts import EXACT, Span
from asr.data.mp3_frames import Place, mp3_frames
from asr.data.sequential import SequentialFile
from asr.data.sound.mixing import MixDown

from ..journal import Outcome
from ..manifests import Source
from ..pipeline import NO_SPEECH
from ..validate import SAMPLE_RATE_HZ, AudioCheck, Decoding, Fault
from .utterances import Limits, speech_seconds, utterances
from .voice_activity import Activity, voice_activity

_MOST_TAPS = 1 << 25
"""Of a resampling filter: some rates have no small common multiple with 16 kHz."""
_MOST_DEVIATION = 1e-2
"""Root mean square of what is loaded less what was decoded from the beginning, over that: 1e-7 for MP3; Opus
decoders come near and never quite there. A shift by one sample is more."""
_TOLD_EVERY_SECONDS = 60.0
_CONVERT = "convert it, as in `ffmpeg -i FILE FILE.flac`"


@dataclass(frozen=True)
class Parts:
    """Of a recording."""

    spans: list[tuple[int, int]]
    """(first sample, samples) at 16 kHz, in order, none over another."""
    said: list[list[Any]] | None = None
    """As `Outcome` has it."""
    left_out: list[list[Any]] | None = None


@dataclass(frozen=True)
class Cutter:
    """What is the same for all recordings."""

    limits: Limits
    vad: str
    progress: Callable[[float], None]
    """Is told seconds of audio as they are done."""

    def __call__(self, path: Path) -> Outcome:
        """Where the utterances of a file are, or what is wrong with it."""
        decoding = Decoding(path)
        blocks = decoding.blocks()
        first = next(blocks, None)
        fault = decoding.check.fault or _of_rate(decoding.check)
        if fault is not None:
            return _faulty(fault)
        detector = voice_activity(self.vad)
        rate_hz = decoding.check.sample_rate_hz
        whole = itertools.chain([first] if first is not None else [], blocks)
        mix = MixDown(rate_hz)
        mono = map(torch.from_numpy, mix.blocks(map(np.nan_to_num, whole)))
        activity = detector.of(resampled(self._told(mono, rate_hz), rate_hz, SAMPLE_RATE_HZ))
        check = decoding.check
        if check.fault is not None:
            return _faulty(check.fault)
        spoken = speech_seconds(activity)
        signs = mix.signs if min(mix.signs, default=1) < 0 else []
        source = Source(rate_hz, check.channels, check.samples, activity.samples, spoken, signs)
        parts = self.parts(path, activity)
        if not parts.spans:
            minutes = check.samples / rate_hz / 60
            return Outcome(
                reason=NO_SPEECH,
                detail=f"{minutes:.1f} minutes, {spoken:.1f} s of speech found ({self.vad})",
            )
        places = _places(path, check, parts.spans)
        if places is None:
            detail = f"{check.container} that cannot be read from the middle exactly; {_CONVERT}"
            return Outcome(reason="inexact_seek", detail=detail)
        placed = [
            [*part, *(() if place is None else vars(place).values())]
            for part, place in zip(parts.spans, places, strict=True)
        ]
        return Outcome(
            os.path.abspath(path),
            check.samples,
            parts=placed,
            source=asdict(source),
            said=parts.said,
            left_out=parts.left_out,
        )

    def parts(self, path: Path, activity: Activity) -> Parts:
        """What becomes an utterance."""
        return Parts(utterances(activity, self.limits))

    def _told(self, blocks: Iterator[torch.Tensor], rate_hz: int) -> Iterator[torch.Tensor]:
        seconds = 0.0
        for block_N in blocks:
            seconds += len(block_N) / rate_hz
            if seconds >= _TOLD_EVERY_SECONDS:
                self.progress(seconds)
                seconds = 0.0
            yield block_N
        self.progress(seconds)


def _faulty(fault: Fault) -> Outcome:
    detail = f"{fault.detail}; {_CONVERT}" if fault.reason == "unreadable" else fault.detail
    return Outcome(reason=fault.reason, detail=detail)


def _of_rate(check: AudioCheck) -> Fault | None:
    """Before anything is resampled."""
    rate_hz = check.sample_rate_hz
    if rate_hz in (0, SAMPLE_RATE_HZ):
        return None
    unit, target_unit, _ = resampling_units(rate_hz, SAMPLE_RATE_HZ)
    if target_unit * (unit + 16) <= _MOST_TAPS:
        return None
    return Fault(
        "odd_rate", f"{rate_hz} Hz; convert it, as in `ffmpeg -i FILE -ar 48000 FILE.flac`"
    )


def _places(
    path: Path, check: AudioCheck, found: Sequence[tuple[int, int]]
) -> Sequence[Place | None] | None:
    """How each part is read, by its bytes where that is better; None where it cannot be read exactly."""
    nowhere: list[Place | None] = [None] * len(found)
    if check.container in EXACT:
        return nowhere
    spans = [
        Span.around(*part, check.sample_rate_hz, SAMPLE_RATE_HZ, check.samples) for part in found
    ]
    frames = mp3_frames(path) if check.container == "MP3" else None
    if frames is not None:
        places = [frames.place(span.first, span.count) for span in spans]
        if _are_exact(path, spans, places):
            return places
    return nowhere if _are_exact(path, spans, nowhere) else None


def _are_exact(path: Path, spans: Sequence[Span], places: Sequence[Place | None]) -> bool:
    """Whether each is loaded as it is decoded from the beginning."""
    with SequentialFile(path) as sound:
        for span, place, wanted_NC in zip(spans, places, _in_order(sound, spans), strict=True):
            try:
                loaded_NC = span.read(path, place)
            except (OSError, soundfile.SoundFileError):
                return False
            if len(loaded_NC) != len(wanted_NC):
                return False
            apart = float(np.sqrt(np.square(loaded_NC - wanted_NC).mean()))
            if not apart <= _MOST_DEVIATION * float(np.sqrt(np.square(wanted_NC).mean())):
                return False
    return True


def _in_order(sound: soundfile.SoundFile, spans: Sequence[Span]) -> Iterator[NDArray[np.float32]]:
    """Spans (N, C) of a file that is decoded from its beginning, in the memory of one; they may overlap."""
    held_NC, begin = np.zeros((0, sound.channels), np.float32), 0
    block = 4 * sound.samplerate
    for span in spans:
        while begin + len(held_NC) < span.first + span.count:
            more_NC = sound.read(block, dtype="float32", always_2d=True)
            if not len(more_NC):
                break
            spare = max(0, min(len(held_NC), span.first - begin))
            held_NC, begin = np.concatenate([held_NC[spare:], more_NC]), begin + spare
        yield held_NC[max(0, span.first - begin) : max(0, span.first + span.count - begin)]
