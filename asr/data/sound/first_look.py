"""A first look at recordings that somebody names: which cannot be used, and where the others begin to sound.

Shape suffixes: N samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse import MonoCut
from numpy.typing import NDArray

from asr.data.manifest.admission import by_content
from asr.data.reading import refuse_pipes
from asr.data.sequential import RATES_HZ
from asr.data.sound.decoder_notes import folded
from asr.errors import UserError
from asr.utils.faults import first_line
from asr.utils.text_files import refuse_pipe

Audio = NDArray[np.float32]

SILENT_PEAK = 1e-4
"""-80 dB of full scale: what has no louder sample is silent."""
_MOST_BLOCK_SECONDS = 60
_MOST_SKIPPED_SECONDS = 600
_SHOWN = 3


@dataclass(frozen=True)
class Look:
    """What a first look at a recording finds."""

    samples: int = 0
    rate_hz: int = 0
    heard_at: int = 0
    """Its first sample that is not silent."""
    channels: int = 1
    seeks: bool = True
    """Whether a piece is read without what is before it. Not of MP3, since libmpg123 would complain on stderr;
    but of a long one, which would take too much memory."""
    fault: str = ""
    """Why it cannot be used; empty where it can."""


def looks_at_files(paths: Sequence[Path]) -> list[Look]:
    """Of each audio file."""
    return _in_threads(_look_at_file, paths)


def looks_at_cuts(cuts: Sequence[MonoCut]) -> list[Look]:
    """Of each cut of a prepared set."""
    return _in_threads(_look_at_cut, cuts)


def refuse_faults(
    source: str, names: Sequence[str], looks: Sequence[Look], most_seconds: float, setting: str
) -> None:
    """Raises UserError where a recording cannot be used, or is longer than so many seconds."""
    faults = {
        name: look.fault or f"longer than {most_seconds:g} s"
        for name, look in zip(names, looks, strict=True)
        if look.fault or look.samples > most_seconds * look.rate_hz
    }
    if faults:
        shown = [f"{name} ({fault})" for name, fault in faults.items()]
        more = ", ..." if len(shown) > _SHOWN else ""
        raise UserError(
            f"{setting}: of {len(looks)} recordings of {source} {len(faults)} cannot be used: "
            f"{', '.join(shown[:_SHOWN])}{more}",
            "take them out; what cannot be read may be converted to WAV or FLAC",
        )


def samples_of(cut: MonoCut, first: int, count: int) -> Audio:
    """So many samples (N,) of a cut, from one on, at its own rate."""
    refuse_pipes(cut)
    rate, piece = cut.sampling_rate, cut
    if first or count < cut.num_samples:
        piece = cut.truncate(offset=first / rate, duration=count / rate, preserve_id=True)
    return np.ascontiguousarray(piece.load_audio()[0], dtype=np.float32)


def is_heard(audio_N: Audio) -> bool:
    """Whether it is not silent throughout."""
    return bool(np.abs(audio_N).max(initial=0.0) > SILENT_PEAK)


def _in_threads(look: Callable[[Any], Look], items: Iterable[Any]) -> list[Look]:
    # libsndfile reads without Python's lock; the backend is set once, since it is one for all threads.
    with by_content(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(look, items))


def _look_at_file(path: Path) -> Look:
    try:
        refuse_pipe(path)
        with folded(path), soundfile.SoundFile(path) as sound:
            rate, samples, channels = sound.samplerate, sound.frames, sound.channels
            if rate not in RATES_HZ:
                return Look(fault=f"its header says {rate} Hz")

            def read(first: int, count: int) -> Audio:
                if sound.tell() != first:
                    sound.seek(first)
                audio_N: Audio = sound.read(count, dtype="float32", always_2d=True)[:, 0]
                return audio_N

            seeks = sound.format != "MP3" or samples > _MOST_SKIPPED_SECONDS * rate
            return _look(read, samples, rate, channels, seeks)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        reason = first_line(error).removeprefix(f"Error opening {str(path)!r}: ")
        return Look(fault=f"not readable as audio ({reason})")


def _look_at_cut(cut: MonoCut) -> Look:
    try:
        rate, samples = int(cut.sampling_rate), int(cut.num_samples)
        return _look(lambda first, count: samples_of(cut, first, count), samples, rate)
    except UserError as error:
        return Look(fault=error.what)
    except Exception as error:  # lhotse raises a dozen kinds, depending on what is wrong
        return Look(fault=f"not readable as audio ({first_line(error)})")


def _look(
    read: Callable[[int, int], Audio],
    samples: int,
    rate_hz: int,
    channels: int = 1,
    seeks: bool = True,
) -> Look:
    """Its first sound, which is mostly in its first second; and whether its end is there."""
    if not samples:
        return Look(fault="holds no audio")
    blocks = _blocks(samples, rate_hz)
    heard_at = _first_sound((first, read(first, count)) for first, count in blocks)
    if heard_at is None:
        return Look(fault="silent")
    if heard_at < 0:
        return Look(fault="holds NaN or infinite samples")
    end = min(samples, rate_hz) if seeks else samples
    if len(read(samples - end, end)) < end:
        return Look(fault="ends before its header says")
    return Look(samples, rate_hz, heard_at, channels, seeks)


def _blocks(samples: int, rate_hz: int) -> Iterator[tuple[int, int]]:
    """Where each begins, and how long it is: a second, then more, since few recordings need a second one."""
    first, block = 0, rate_hz
    while first < samples:
        yield first, min(block, samples - first)
        first, block = first + block, min(2 * block, _MOST_BLOCK_SECONDS * rate_hz)


def _first_sound(blocks: Iterator[tuple[int, Audio]]) -> int | None:
    """Where it is; -1 where a sample before it is none; None where there is no sound."""
    for first, block_N in blocks:
        if not np.isfinite(block_N).all():
            return -1
        loud = np.abs(block_N) > SILENT_PEAK
        if loud.any():
            return first + int(loud.argmax())
    return None
