"""A recording is decoded once, and converted where training could not read it; and what utterances are in it.

Shape suffixes: N samples, C channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile

from asr.data.sequential import SequentialFile
from asr.utils.files import replacing

from .journal import Outcome
from .manifests import Kept, Part, Source, Utterance
from .validate import SAMPLE_RATE_HZ, Fault, check_audio

_BLOCK_SECONDS = 10
_END_SECONDS = 0.25
"""What ends so much after its recording, as durations that were rounded do, ends with it."""
_NEAR_END_SECONDS = 0.01
"""And so does what ends so near to its end."""
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
    samples = to_16khz_mono(utterance.path, target, channel if check.channels > 1 else None)
    if samples == 0:
        return Outcome(reason="empty", detail="the file holds less than one 16 kHz sample")
    return Outcome(os.path.abspath(target), samples, converted=True)


def _converted_path(utterance: Utterance, output: Path) -> Path:
    """A place that no other recording has: neither of another set, nor of another root."""
    source = os.path.abspath(utterance.path).encode("utf-8", "surrogateescape")
    if utterance.span is not None and utterance.span.channel is not None:
        source += f" {utterance.span.channel}".encode()
    mark = hashlib.sha256(source).hexdigest()[:8]
    return output / "audio" / utterance.set / f"{utterance.id}.{mark}.flac"


def to_16khz_mono(source: Path, target: Path, channel: int | None = None) -> int:
    """Average the channels or take one, resample, write 16-bit FLAC atomically; returns samples at 16 kHz.

    A block at a time: recordings may be hours long.
    """
    from asr.data.audio import AudioFile, resampled, stream_audio  # imports torch

    samples = 0
    if channel is None:
        blocks = stream_audio(AudioFile.named(source), SAMPLE_RATE_HZ)
    else:
        rate = soundfile.info(source).samplerate
        blocks = resampled(_channel_of(source, channel), rate, SAMPLE_RATE_HZ)
    with (
        replacing(target) as file,
        soundfile.SoundFile(file, "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="FLAC") as sound,
    ):
        for block_N in blocks:
            sound.write(block_N.numpy())
            samples += len(block_N)
    return samples


def _channel_of(source: Path, channel: int) -> Iterator[Any]:
    import torch

    with SequentialFile(source) as sound:
        size = _BLOCK_SECONDS * sound.samplerate
        while len(block_NC := sound.read(size, dtype="float32", always_2d=True)):
            yield torch.from_numpy(block_NC[:, channel].copy())


def listed_part(utterance: Utterance, outcome: Outcome) -> Kept | Fault:
    """An utterance of a sound recording, or the part of it that a corpus names: that may lie beside it."""
    whole = Kept(utterance, Path(outcome.path), outcome.samples, outcome.converted)
    span = utterance.span
    if span is None:
        return whole
    first = round(span.start_seconds * SAMPLE_RATE_HZ)
    last = outcome.samples if span.seconds is None else first + round(span.seconds * SAMPLE_RATE_HZ)
    beyond = (last - outcome.samples) / SAMPLE_RATE_HZ
    here = f"{first / SAMPLE_RATE_HZ:.3f} s to {last / SAMPLE_RATE_HZ:.3f} s"
    if first < 0 or first >= outcome.samples or beyond > _END_SECONDS:
        length = outcome.samples / SAMPLE_RATE_HZ
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
