"""A recording is decoded once, and converted where training could not read it; and what utterances are in it.

Shape suffixes: N samples, C channels.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from asr.data.sequential import SequentialFile
from asr.utils.files import replacing

from .journal import Outcome
from .manifests import Kept, Part, Source, Utterance
from .validate import SAMPLE_RATE_HZ, Fault, check_audio

CONVERTED = "audio"
"""Folder in OUT of the recordings that had to be converted."""
CONVERTED_NAME = re.compile(r"\.[0-9a-f]{8}\.flac$")
"""How their names end."""
MADE_HERE = "converted by asr prepare"
"""Their comment: they are never taken for recordings."""
_MOST_NAME_BYTES = 255 - len(".12345678.flac") - len("..partial")
_BLOCK_SECONDS = 10
_END_SECONDS = 0.25
"""What ends so much after its recording, as durations that were rounded do, ends with it."""
_NEAR_END_SECONDS = 0.01
"""And so does what ends so near to its end."""
_MOST_SECONDS = 1e9
"""Thirty years: what is later is no time."""
CONFIDENCE = "confidence"
"""Custom field of a supervision: how sure a model is of its text, from 0 to 1."""


def check_one(utterance: Utterance, output: Path) -> Outcome:
    """Decode a recording, and convert it where training could not read it."""
    check = check_audio(utterance.path)
    if check.fault is not None:
        return Outcome(reason=check.fault.reason, detail=check.fault.detail)
    channel = utterance.span.channel if utterance.span is not None else None
    if channel is not None and not 0 <= channel < check.channels:
        has = "one channel" if check.channels == 1 else f"channels 0 to {check.channels - 1}"
        return Outcome(reason="missing_channel", detail=f"channel {channel}: the file has {has}")
    if not check.needs_conversion:
        return Outcome(os.path.abspath(utterance.path), check.samples)
    target = _converted_path(utterance, output)
    try:
        samples, gain = to_16khz_mono(
            utterance.path, target, channel if check.channels > 1 else None
        )
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return Outcome(reason="long_name", detail=f"{target}: {error.strerror}; rename it")
    if samples == 0:
        return Outcome(reason="empty", detail="the file holds less than one 16 kHz sample")
    return Outcome(os.path.abspath(target), samples, converted=True, gain=gain)


def _converted_path(utterance: Utterance, output: Path) -> Path:
    """A place that no other recording has: neither of another set, nor of another root."""
    source = os.path.abspath(utterance.path).encode("utf-8", "surrogateescape")
    if utterance.span is not None and utterance.span.channel is not None:
        source += f" {utterance.span.channel}".encode()
    mark = hashlib.sha256(source).hexdigest()[:8]
    folder, slash, name = utterance.id.rpartition("/")
    # By the mark alone it is told apart: of a long name the beginning is enough.
    short = name.encode()[:_MOST_NAME_BYTES].decode(errors="ignore")
    return output / CONVERTED / utterance.set / f"{folder}{slash}{short}.{mark}.flac"


def to_16khz_mono(source: Path, target: Path, channel: int | None = None) -> tuple[int, float]:
    """Average the channels or take one, resample, write 16-bit FLAC atomically; returns samples at 16 kHz.

    And the gain: what goes beyond full scale, as floats may, and resampled or decoded audio by a little, is
    made quieter as a whole, so that nothing is clipped. A block at a time: recordings may be hours long.
    """
    samples, peak = _write_16khz_mono(source, target, channel, 1.0)
    if peak <= 1.0:
        return samples, 1.0
    return _write_16khz_mono(source, target, channel, 1.0 / peak)[0], 1.0 / peak


def _write_16khz_mono(
    source: Path, target: Path, channel: int | None, gain: float
) -> tuple[int, float]:
    """Samples, and their peak before the gain."""
    from asr.data.audio import AudioFile, resampled, stream_audio  # imports torch

    samples, peak = 0, 0.0
    if channel is None:
        blocks = stream_audio(AudioFile.named(source), SAMPLE_RATE_HZ)
    else:
        rate = soundfile.info(source).samplerate
        blocks = resampled(_channel_of(source, channel), rate, SAMPLE_RATE_HZ)
    with (
        replacing(target) as file,
        _Heard(file) as heard,
        soundfile.SoundFile(heard, "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="FLAC") as sound,
    ):
        sound.comment = MADE_HERE
        for block_N in blocks:
            audio_N = block_N.numpy()
            sound.write(audio_N * np.float32(gain) if gain != 1.0 else audio_N)
            samples, peak = samples + len(audio_N), max(peak, float(np.abs(audio_N).max(initial=0)))
            heard.raise_fault()
    return samples, peak


class _Heard:
    """A file that soundfile writes to: it drops the errors of one that is not its own."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.fault: OSError | None = None

    def __enter__(self) -> _Heard:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.raise_fault()  # of what was written as the sound was closed

    def write(self, content: bytes) -> int:
        self._do(self.file.write, content)
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._do(self.file.seek, offset, whence))

    def tell(self) -> int:
        return int(self._do(self.file.tell))

    def flush(self) -> None:
        self._do(self.file.flush)

    def _do(self, what: Callable[..., Any], *arguments: Any) -> Any:
        """As if all were well."""
        try:
            return 0 if self.fault else what(*arguments)
        except OSError as error:
            self.fault = error
            return 0

    def raise_fault(self) -> None:
        """Raises OSError if something could not be written."""
        if self.fault is not None:
            raise self.fault


def _channel_of(source: Path, channel: int) -> Iterator[Any]:
    import torch

    with SequentialFile(source) as sound:
        size = _BLOCK_SECONDS * sound.samplerate
        while len(block_NC := sound.read(size, dtype="float32", always_2d=True)):
            yield torch.from_numpy(block_NC[:, channel].copy())


def listed_part(utterance: Utterance, outcome: Outcome) -> Kept | Fault:
    """An utterance of a sound recording, or the part of it that a corpus names: that may lie beside it."""
    whole = Kept(
        utterance, Path(outcome.path), outcome.samples, outcome.converted, gain=outcome.gain
    )
    span = utterance.span
    if span is None:
        return whole
    length = outcome.samples / SAMPLE_RATE_HZ
    if max(span.start_seconds, span.seconds or 0.0) > _MOST_SECONDS:
        times = f"from {span.start_seconds:g} s for {span.seconds or 0:g} s"
        return Fault("beyond_end", f"{times} of a recording of {length:.3f} s: fix the times")
    first = round(span.start_seconds * SAMPLE_RATE_HZ)
    last = outcome.samples if span.seconds is None else first + round(span.seconds * SAMPLE_RATE_HZ)
    beyond = (last - outcome.samples) / SAMPLE_RATE_HZ
    here = f"{first / SAMPLE_RATE_HZ:.3f} s to {last / SAMPLE_RATE_HZ:.3f} s"
    if first < 0 or first >= outcome.samples or beyond > _END_SECONDS:
        return Fault("beyond_end", f"from {here} of a recording of {length:.3f} s: fix the times")
    if outcome.samples - last < _NEAR_END_SECONDS * SAMPLE_RATE_HZ:
        last = outcome.samples
    if last <= first:
        return Fault("empty", f"from {here} there is nothing: fix the times")
    if (first, last) == (0, outcome.samples):
        return whole
    part = Part(Source.mono_16khz(outcome.samples), first)
    return replace(whole, samples=last - first, part=part)


def found_parts(recording: Utterance, outcome: Outcome) -> Iterator[Kept]:
    """Utterances that were found in a recording; an id says where one is, in hundredths of a second."""
    source = Source(**(outcome.source or {}))
    for number, (first, count, *place) in enumerate(outcome.parts or ()):
        begin, end = (round(100 * at / SAMPLE_RATE_HZ) for at in (first, first + count))
        part = Part(source, first, tuple(place) or None)
        utterance = replace(recording, id=f"{recording.id}-{begin:07d}-{end:07d}")
        if outcome.said is not None:
            set_name, text, written, confidence = outcome.said[number]
            custom = {} if confidence is None else {CONFIDENCE: confidence}
            utterance = replace(utterance, set=set_name, text=text, written=written, custom=custom)
        yield Kept(utterance, Path(outcome.path), count, False, part)
