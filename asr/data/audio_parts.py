"""A part of an audio file of any length, rate and format, as it is in the whole file resampled.

In the memory of the part. A FLAC or WAV is sought in exactly; of a format whose decoder needs some time to be
right again after a seek, some audio before the part is decoded too, and of an MP3 its own frames
(asr/data/mp3_frames.py), where a cut says which. `asr prepare segment` compares parts with the whole.

Shape suffixes: N samples, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse import MonoCut, Recording
from lhotse.utils import fastcopy
from numpy.typing import NDArray

from asr.data.audio import resampling_units
from asr.data.mp3_frames import Place
from asr.data.sequential import SequentialFile
from asr.data.sound.mixing import mixed
from asr.data.sound.resampling import resample
from asr.errors import UserError

EXACT = ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "NIST")
"""Containers in which libsndfile seeks exactly."""
CUSTOM = "recording_part"
"""Field of a cut's custom ones, which `asr prepare segment` writes: samples of the whole file at its own rate,
whether the mean of the channels is meant, or their signs in it where these are not all 1, and of an MP3 the
frames (mp3_frames.Place)."""
_SECONDS_BEFORE = 1.0
"""For the decoders of other formats."""


@dataclass(frozen=True)
class Span:
    """Samples of a file at its own rate."""

    first: int
    count: int

    @classmethod
    def around(cls, first: int, count: int, rate_hz: int, target_hz: int, samples: int) -> Span:
        """What takes part in resampling `count` samples from `first` on, counted at the target's rate."""
        if rate_hz == target_hz:
            return cls(first, min(count, samples - first))
        unit, target_unit, margin = resampling_units(rate_hz, target_hz)
        begin = max(0, first // target_unit * unit - margin)
        end = min(samples, -(-(first + count) // target_unit) * unit + margin)
        return cls(begin, end - begin)

    def read(self, path: Path, place: Place | None = None) -> NDArray[np.float32]:
        """Samples (N, C), fewer where the file ends. Raises soundfile's errors, and OSError."""
        return self.read_with_rate(path, place)[0]

    def read_with_rate(self, path: Path, place: Place | None) -> tuple[NDArray[np.float32], int]:
        """The same, and the file's rate in Hz."""
        with SequentialFile(path if place is None else place.stream(path)) as sound:
            skipped = place.skipped if place is not None else 0
            if place is None:
                spare = 0 if sound.format in EXACT else round(_SECONDS_BEFORE * sound.samplerate)
                skipped = min(self.first, spare)
                if self.first > skipped:
                    sound.seek(self.first - skipped)
            audio_NC: NDArray[np.float32] = sound.read(
                skipped + self.count, dtype="float32", always_2d=True
            )
            return audio_NC[skipped:], int(sound.samplerate)


def is_part(cut: MonoCut) -> bool:
    """Whether a cut is a part of a file, and what is done to that is resampling alone."""
    if not cut.has_recording or [one.type for one in cut.recording.sources] != ["file"]:
        return False
    is_whole = cut.start == 0 and cut.num_samples == cut.recording.num_samples
    names = [_get(one, "name") for one in cut.recording.transforms or ()]
    is_resampled = bool(names) or bool(_said(cut))
    return (is_resampled or not is_whole) and all(name == "Resample" for name in names)


def load_part(cut: MonoCut) -> NDArray[np.float32]:
    """The samples (N,) of a cut for which `is_part`, at its rate.

    Raises UserError where the file is shorter than it was; soundfile's errors and OSError.
    """
    recording, said = cut.recording, _said(cut)
    target_hz, transforms = recording.sampling_rate, recording.transforms or ()
    rate_hz = int(_kwarg(transforms[0], "source_sampling_rate")) if transforms else target_hz
    path, first = Path(recording.sources[0].source), round(cut.start * target_hz)
    samples = int(said.get("samples") or round(recording.num_samples * rate_hz / target_hz))
    span = Span.around(first, cut.num_samples, rate_hz, target_hz, samples)
    place = Place(*map(int, said["mp3"])) if "mp3" in said else None
    audio_NC, own_hz = span.read_with_rate(path, place)
    if own_hz != rate_hz:
        raise UserError(f"{path} has {own_hz} Hz, its manifest says {rate_hz}", "prepare again")
    if len(audio_NC) < span.count:
        raise UserError(
            f"{path} has become shorter: it ends before {cut.end:.1f} s", "prepare again"
        )
    mean = said.get("mean_of_channels")
    if mean:
        signs = mean if isinstance(mean, list) else [1] * audio_NC.shape[1]
        audio_N = mixed(audio_NC, signs)
    else:
        audio_N = audio_NC[:, recording.sources[0].channels.index(cut.channel)]
    return resampled_part(audio_N, span, first, cut.num_samples, rate_hz, target_hz)


def in_memory(cut: MonoCut) -> MonoCut:
    """A cut for which `is_part` as one of a recording that is no longer than it, and in memory."""
    content = BytesIO()
    soundfile.write(content, load_part(cut), cut.sampling_rate, format="WAV", subtype="FLOAT")
    recording = Recording.from_bytes(content.getvalue(), cut.id)
    custom = {key: value for key, value in (cut.custom or {}).items() if key != CUSTOM}
    whole: MonoCut = fastcopy(cut, start=0.0, channel=0, recording=recording, custom=custom or None)
    return whole


def resampled_part(
    audio_N: NDArray[np.float32],
    span: Span,
    first: int,
    count: int,
    rate_hz: int,
    target_hz: int,
) -> NDArray[np.float32]:
    """Of the samples of a span, the `count` from `first` on at the target's rate."""
    if rate_hz == target_hz:
        return audio_N
    unit, target_unit, _ = resampling_units(rate_hz, target_hz)
    whole = resample(audio_N, rate_hz, target_hz)
    begin = first - span.first // unit * target_unit
    return whole[begin : begin + count]


def _said(cut: MonoCut) -> Mapping[str, Any]:
    said = (cut.custom or {}).get(CUSTOM)
    return said if isinstance(said, Mapping) else {}


def _get(transform: Any, name: str) -> Any:
    if isinstance(transform, Mapping):
        return transform.get(name)
    return type(transform).__name__ if name == "name" else getattr(transform, name)


def _kwarg(transform: Any, name: str) -> Any:
    if isinstance(transform, Mapping):
        return transform["kwargs"][name]
    return getattr(transform, name)
