"""Recorded noise or impulse responses: folders and prepared sets, looked through once, then read in pieces.

Shape suffixes: N samples.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource
from lhotse.augmentation import Resample
from numpy.typing import NDArray

from asr.data.dataset import SpeechSet
from asr.data.manifest.admission import by_content
from asr.data.manifest.index import MANIFEST_SUFFIX
from asr.data.manifest.shar import SHAR_SUFFIX
from asr.errors import UserError

Audio = NDArray[np.float32]

SILENT_PEAK = 1e-4
"""-80 dB of full scale: what has no louder sample is silent."""
_MOST_BLOCK_SECONDS = 60
_SHOWN = 3
_TRIES = 4
# Also those that libsndfile cannot read: named, and not passed over.
_SUFFIXES = {
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf"),
    *(".sph", ".w64", ".rf64", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr"),
}


@dataclass(frozen=True)
class _Look:
    """What a first look at a recording finds."""

    samples: int = 0
    rate_hz: int = 0
    heard_at: int = 0
    """Its first sample that is not silent."""
    channels: int = 1
    seeks: bool = True
    """Whether a piece is read without what is before it. Not of MP3: libmpg123 would complain on stderr."""
    fault: str = ""
    """Why it cannot be used; empty where it can."""


class Recordings:
    """Recordings, of which pieces are read at one rate."""

    def __init__(
        self, cuts: Sequence[MonoCut], looks: Sequence[_Look], rate_hz: int, setting: str
    ) -> None:
        """`cuts` at their own rates; `rate_hz` that of what is read; `setting` for messages."""
        self._cuts, self.rate_hz, self._setting = cuts, rate_hz, setting
        self._rates = np.array([look.rate_hz for look in looks], np.int64)
        self._own_samples = np.array([look.samples for look in looks], np.int64)
        self._seeks = np.array([look.seeks for look in looks], np.bool_)
        self._heard_at = np.array([look.heard_at for look in looks], np.int64)

    @classmethod
    def found(
        cls, sources: Sequence[str], directory: Path, rate_hz: int, setting: str
    ) -> Recordings:
        """All of some folders and prepared sets, the sets being looked for in `directory` first.

        Raises UserError for a source that is not there or empty, and for recordings that cannot be read, end
        before their time, or are silent: what is drawn hangs on the list, so nothing is left out in silence.
        """
        parts: list[Sequence[MonoCut]] = []
        looks: list[_Look] = []
        for source in sources:
            found = _set_named(source, directory)
            if found is not None:
                _refuse_damage(found, setting)
                names: Sequence[str] = found.ids
                part: Sequence[MonoCut] = found.cuts
                seen = _in_threads(_look_at_cut, part)
            else:
                folder = _folder(source, directory, setting)
                paths = _audio_files(folder)
                if not paths:
                    raise UserError(
                        f"{setting}: no audio under the folder {source}",
                        "name a folder of WAV, FLAC, MP3 or OGG files",
                    )
                names = [str(path.relative_to(folder)) for path in paths]
                seen = _in_threads(_look_at_file, paths)
                part = _Files(paths, seen)
            _refuse_faults(source, names, seen, setting)
            parts.append(part)
            looks += seen
        return cls(_Joined(parts), looks, rate_hz, setting)

    def __len__(self) -> int:
        return len(self._rates)

    @property
    def hours(self) -> float:
        """Of all of them."""
        return float((self._own_samples / self._rates).sum()) / 3600

    def whole(self, index: int) -> Audio:
        """A whole recording (N,)."""
        return self._read(index, 0, int(self._own_samples[index]))

    def piece(self, random: np.random.Generator, samples: int) -> Audio:
        """So many samples (N,) of one of them, not silent throughout; a shorter recording is repeated."""
        index = int(random.integers(len(self)))
        rate, length = int(self._rates[index]), int(self._own_samples[index])
        count = -(-samples * rate // self.rate_hz)
        if length <= count:
            start = int(random.integers(length))
            whole_N = np.roll(self.whole(index), -start * self.rate_hz // rate)
            return np.resize(whole_N, samples)
        last = length - count
        for _ in range(_TRIES):
            piece_N = self._read(index, int(random.integers(last + 1)), count)
            if _is_heard(piece_N):
                return np.resize(piece_N, samples)
        return np.resize(self._read(index, min(last, int(self._heard_at[index])), count), samples)

    def _read(self, index: int, first: int, count: int) -> Audio:
        """From sample `first` of its own on; at the common rate."""
        cut = self._cuts[index]
        try:
            with by_content():
                skipped = 0 if self._seeks[index] else first
                audio_N = _samples(cut, first - skipped, skipped + count)[skipped:]
        except Exception as error:  # lhotse raises a dozen kinds, depending on what is wrong
            raise UserError(
                f"{self._setting}: {_place(cut)}: cannot be read any more: {_first_line(error)}",
                "restore the file, or take it out and begin the run again",
            ) from error
        if not np.isfinite(audio_N).all():
            raise UserError(
                f"{self._setting}: {_place(cut)}: holds NaN or infinite samples",
                "take it out, or record or export it again",
            )
        rate = int(self._rates[index])
        if rate == self.rate_hz:
            return audio_N
        resampled_N: Audio = Resample(rate, self.rate_hz)(audio_N[None])[0]
        return resampled_N


class _Files(Sequence[MonoCut]):
    """A cut for each file, made when it is asked for."""

    def __init__(self, paths: Sequence[Path], looks: Sequence[_Look]) -> None:
        self._paths, self._looks = paths, looks

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: Any) -> Any:
        path, look = str(self._paths[place]), self._looks[place]
        seconds = look.samples / look.rate_hz
        source = AudioSource("file", list(range(look.channels)), path)
        recording = Recording(path, [source], look.rate_hz, look.samples, seconds)
        return MonoCut(path, 0.0, seconds, 0, recording=recording)


class _Joined(Sequence[MonoCut]):
    """Sequences, one after the other."""

    def __init__(self, parts: Sequence[Sequence[MonoCut]]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)]).tolist()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, place: Any) -> Any:
        number = bisect_right(self._starts, place) - 1
        return self._parts[number][place - self._starts[number]]


def _set_named(source: str, directory: Path) -> SpeechSet | None:
    """A prepared set; None where `source` names none."""
    name = source.removesuffix(MANIFEST_SUFFIX)
    for path in (directory / f"{name}{MANIFEST_SUFFIX}", Path(f"{name}{MANIFEST_SUFFIX}")):
        folder = path.with_name(path.name.removesuffix(MANIFEST_SUFFIX))
        if path.is_file() or (folder.name.endswith(SHAR_SUFFIX) and folder.is_dir()):
            return SpeechSet.load(path)
    return None


def _folder(source: str, directory: Path, setting: str) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(
            f"{setting}: {source} is neither a folder nor a prepared set in {directory}",
            "check the path, which is relative to the working directory, or prepare the set",
        )
    return folder


def _audio_files(folder: Path) -> list[Path]:
    found = [
        Path(here) / name
        for here, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _in_threads(look: Callable[[Any], _Look], items: Iterable[Any]) -> list[_Look]:
    # libsndfile reads without Python's lock; the backend is set once, since it is one for all threads.
    with by_content(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(look, items))


def _look_at_file(path: Path) -> _Look:
    try:
        with soundfile.SoundFile(path) as sound:
            rate, samples, channels = sound.samplerate, sound.frames, sound.channels

            def read(first: int, count: int) -> Audio:
                if sound.tell() != first:
                    sound.seek(first)
                audio_N: Audio = sound.read(count, dtype="float32", always_2d=True)[:, 0]
                return audio_N

            return _look(read, samples, rate, channels, seeks=sound.format != "MP3")
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        reason = _first_line(error).removeprefix(f"Error opening {str(path)!r}: ")
        return _Look(fault=f"not readable as audio ({reason})")


def _look_at_cut(cut: MonoCut) -> _Look:
    try:
        rate, samples = int(cut.sampling_rate), int(cut.num_samples)
        return _look(lambda first, count: _samples(cut, first, count), samples, rate)
    except UserError as error:
        return _Look(fault=error.what)
    except Exception as error:
        return _Look(fault=f"not readable as audio ({_first_line(error)})")


def _look(
    read: Callable[[int, int], Audio],
    samples: int,
    rate_hz: int,
    channels: int = 1,
    seeks: bool = True,
) -> _Look:
    """Its first sound, which is mostly in its first seconds; and whether its end is there."""
    if not samples:
        return _Look(fault="holds no audio")
    blocks = _blocks(samples, rate_hz)
    heard_at = _first_sound((first, read(first, count)) for first, count in blocks)
    if heard_at is None:
        return _Look(fault="silent")
    if heard_at < 0:
        return _Look(fault="holds NaN or infinite samples")
    end = min(samples, rate_hz) if seeks else samples
    if len(read(samples - end, end)) < end:
        return _Look(fault="ends before its header says")
    return _Look(samples, rate_hz, heard_at, channels, seeks)


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


def _samples(cut: MonoCut, first: int, count: int) -> Audio:
    rate = cut.sampling_rate
    piece = cut
    if first or count < cut.num_samples:
        piece = cut.truncate(offset=first / rate, duration=count / rate, preserve_id=True)
    return np.ascontiguousarray(piece.load_audio()[0], dtype=np.float32)


def _is_heard(audio_N: Audio) -> bool:
    return bool(np.abs(audio_N).max(initial=0.0) > SILENT_PEAK)


def _refuse_faults(source: str, names: Sequence[str], looks: Sequence[_Look], setting: str) -> None:
    faults = [place for place, look in enumerate(looks) if look.fault]
    if faults:
        shown = ", ".join(f"{names[place]} ({looks[place].fault})" for place in faults[:_SHOWN])
        more = ", ..." if len(faults) > _SHOWN else ""
        raise UserError(
            f"{setting}: of {len(looks)} recordings of {source} {len(faults)} cannot be used: {shown}{more}",
            "take them out; what cannot be read may be converted to WAV or FLAC",
        )


def _refuse_damage(speech: SpeechSet, setting: str) -> None:
    for name, lost in speech.rejects.items():
        raise UserError(
            f"{setting}: shard {name} {lost['reason']}",
            "copy the shard again, or make the shards again (asr prepare shar)",
        )


def _place(cut: MonoCut) -> str:
    source = cut.recording.sources[0]
    return str(source.source) if source.type == "file" else f"'{cut.id}'"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
