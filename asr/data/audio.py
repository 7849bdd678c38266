"""Any audio file -> a waveform, whole or as a stream of blocks in bounded memory."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.data.sequential import SequentialFile
from asr.data.sound.lengths import (
    TRUNCATED,
    LengthFault,
    decoded_otherwise,
    stated_in,
    stated_otherwise,
)
from asr.data.sound.mixing import MixDown, mixed, signs_of
from asr.data.sound.resampling import resample
from asr.errors import UserError
from asr.utils.faults import first_line

STDIN = Path("-")
_BLOCK_SECONDS = 10
_BLOCK_SAMPLES = 1 << 20
_LEAST_RATE_HZ, _MOST_RATE_HZ = 1_000, 384_000
# Audio on both sides of a block that takes part in its resampling: far more than the filter's width.
_MARGIN_SECONDS = 0.05


def read_audio(path: Path, sample_rate_hz: int) -> Tensor:
    """Waveform (N,) in fp32, mixed down to one channel and resampled.

    Raises UserError if the file is missing, empty, not audio, or holds NaN or infinite samples.
    """
    return torch.cat(list(stream_audio(AudioFile.named(path), sample_rate_hz)))


@dataclass(frozen=True)
class AudioFile:
    """A file that can be read several times, or the standard input (path `-`), which holds one file."""

    path: Path
    spooled: BinaryIO | None = None
    """Of the standard input and other pipes, which cannot be read twice: a temporary file keeps them."""
    faults: list[str] = field(default_factory=list)
    """What is wrong with its length, once it has been read to its end: empty where nothing is."""

    @classmethod
    def named(cls, path: Path) -> AudioFile:
        """Raises UserError if there is no such file."""
        if path == STDIN:
            if sys.stdin is None:
                raise UserError("-: the standard input is closed", "name a file")
            return cls._spooled(path, sys.stdin.buffer)
        if path.is_fifo():  # <(a command), /dev/stdin
            with path.open("rb") as pipe:
                return cls._spooled(path, pipe)
        if path.is_dir():
            raise UserError(f"{path}: is a folder", "name the files in it")
        if not path.is_file():
            raise UserError(f"{path}: no such file", "check the path")
        return cls(path)

    @classmethod
    def _spooled(cls, path: Path, pipe: BinaryIO) -> AudioFile:
        spooled = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as this)
        shutil.copyfileobj(pipe, spooled)
        if not spooled.tell():
            raise UserError(f"{path}: nothing comes through it", "pipe a file into it, or name one")
        return cls(path, spooled)


@dataclass(frozen=True)
class AudioArray:
    """Samples in memory, one channel."""

    samples: NDArray[np.float32]
    """(N,)"""
    rate_hz: int
    path: Path = Path("array")
    """For messages."""

    @classmethod
    def checked(cls, samples: Any, rate_hz: Any) -> AudioArray:
        """Samples (N,) or (N, channels), floats, or integers of full scale; mixed down to one channel.

        Raises UserError for another shape or type, for samples that are not finite, and for a rate that is no
        whole number of Hz.
        """
        if isinstance(rate_hz, bool) or not isinstance(rate_hz, (int, float, np.number)):
            raise UserError(f"a rate of {rate_hz!r}", "give the samples a second, as in 16000")
        if not _LEAST_RATE_HZ <= rate_hz <= _MOST_RATE_HZ or rate_hz != int(rate_hz):
            raise UserError(
                f"a rate of {rate_hz} Hz",
                f"give a whole number of Hz from {_LEAST_RATE_HZ} to {_MOST_RATE_HZ}",
            )
        array = np.asarray(samples)
        if array.ndim not in (1, 2) or not array.size:
            raise UserError(
                f"audio of shape {array.shape}", "give samples of shape (N,) or (N, channels)"
            )
        if array.ndim == 2 and array.shape[1] > array.shape[0]:
            raise UserError(
                f"audio of shape {array.shape} has more channels than samples",
                "give (N, channels): transpose it",
            )
        if array.dtype in (np.int16, np.int32):
            array = array / (float(np.iinfo(array.dtype).max) + 1.0)
        elif array.dtype not in (np.float16, np.float32, np.float64):
            raise UserError(
                f"audio of type {array.dtype}", "give floats from -1 to 1, or int16 or int32"
            )
        if not np.isfinite(array).all():
            raise UserError("audio holds NaN or infinite samples", "record or export it again")
        blocks = (array[n : n + _BLOCK_SAMPLES] for n in range(0, len(array), _BLOCK_SAMPLES))
        mono = array if array.ndim == 1 else mixed(array, signs_of(blocks))
        return cls(np.ascontiguousarray(mono, dtype=np.float32), int(rate_hz))


def stream_array(array: AudioArray, sample_rate_hz: int) -> Iterator[Tensor]:
    """As `stream_audio`, of samples in memory."""
    block = _BLOCK_SECONDS * array.rate_hz
    starts = range(0, len(array.samples), block)
    blocks = (torch.from_numpy(array.samples[n : n + block]) for n in starts)
    yield from resampled(blocks, array.rate_hz, sample_rate_hz)


def stream_audio(file: AudioFile, sample_rate_hz: int) -> Iterator[Tensor]:
    """The same in blocks of some seconds; joined they are what `read_audio` gives.

    A file that is shorter or longer than its header says is read as far as it can be, and `file` notes it.
    """
    path, empty = file.path, True
    with _opened(file) as sound:
        mono = map(torch.from_numpy, MixDown(sound.samplerate).blocks(_blocks(file, sound)))
        for block_N in resampled(mono, sound.samplerate, sample_rate_hz):
            empty = empty and not len(block_N)
            yield block_N
    if empty:
        raise UserError(f"{path}: holds no audio", "name another file")


@contextmanager
def _opened(file: AudioFile) -> Iterator[soundfile.SoundFile]:
    path = file.path
    try:
        source: Path | BinaryIO = path
        if file.spooled is not None:
            file.spooled.seek(0)
            source = file.spooled
        with SequentialFile(source) as sound:
            yield sound
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = first_line(error)
        for name in (str(path), os.fsencode(path), file.spooled):
            reason = reason.removeprefix(f"Error opening {name!r}: ")
        raise UserError(
            f"{path}: not readable as audio ({reason})", "convert it to WAV or FLAC"
        ) from None


def _blocks(file: AudioFile, sound: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """Samples (N, channels)."""
    path, decoded = file.path, 0
    while True:
        try:
            block = _BLOCK_SECONDS * sound.samplerate
            audio_NC = sound.read(block, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            if not decoded:
                raise
            file.faults[:] = [f"decoding failed after {decoded / sound.samplerate:.1f} s ({error})"]
            return
        if not len(audio_NC):
            wrong = decoded_otherwise(sound.format, sound.frames, decoded)
            wrong = _stated(file) or wrong
            file.faults[:] = [wrong.detail] if wrong is not None else []
            return
        decoded += len(audio_NC)
        if not np.isfinite(audio_NC).all():
            raise UserError(f"{path}: holds NaN or infinite samples", "record or export it again")
        yield audio_NC


def _stated(file: AudioFile) -> LengthFault | None:
    """How a file, once it is read, differs from its header; who writes to a pipe may state too little."""
    if file.spooled is None:
        return stated_in(file.path)
    found = stated_otherwise(file.spooled)
    return found if found is not None and found.reason == TRUNCATED else None


def resampling_units(rate_hz: int, target_hz: int) -> tuple[int, int, int]:
    """So many samples in are so many out, exactly; and the samples around a part that take part in it."""
    divisor = math.gcd(rate_hz, target_hz)
    unit = rate_hz // divisor
    return unit, target_hz // divisor, unit * math.ceil(_MARGIN_SECONDS * rate_hz / unit)


def resampled(blocks: Iterable[Tensor], rate_hz: int, target_hz: int) -> Iterator[Tensor]:
    """Blocks (N,) of one signal at another rate; joined they are the whole signal resampled."""
    if rate_hz == target_hz:
        yield from blocks
        return
    unit, target_unit, margin = resampling_units(rate_hz, target_hz)
    pending_N, done = torch.zeros(0), 0  # the first `done` samples are only there as a margin

    for block_N in blocks:
        pending_N = torch.cat([pending_N, block_N])
        end = (len(pending_N) - margin) // unit * unit
        if end > done:
            yield _resampled(pending_N, rate_hz, target_hz)[
                done // unit * target_unit : end // unit * target_unit
            ]
            dropped = max(0, end - margin)
            pending_N, done = pending_N[dropped:], end - dropped
    if len(pending_N) > done:
        yield _resampled(pending_N, rate_hz, target_hz)[done // unit * target_unit :]


def _resampled(audio_N: Tensor, rate_hz: int, target_hz: int) -> Tensor:
    return torch.from_numpy(resample(audio_N.numpy(), rate_hz, target_hz))
