"""Recorded noise or impulse responses: folders and prepared sets, looked through once, then read in pieces.

Shape suffixes: N samples.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource
from numpy.typing import NDArray

from asr.data.dataset import SpeechSet
from asr.data.manifest.admission import by_content
from asr.data.manifest.index import MANIFEST_SUFFIX, digest
from asr.data.manifest.rows import key_of
from asr.data.manifest.shar import SHAR_SUFFIX
from asr.data.sound.first_look import (
    Look,
    is_heard,
    looks_at_cuts,
    looks_at_files,
    refuse_faults,
    samples_of,
)
from asr.data.sound.resampling import resample
from asr.errors import UserError
from asr.utils.faults import first_line

Audio = NDArray[np.float32]

_TRIES = 4
# Also those that libsndfile cannot read: named, and not passed over.
_SUFFIXES = {
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf"),
    *(".sph", ".w64", ".rf64", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr"),
}


class Recordings:
    """Recordings, of which pieces are read at one rate."""

    def __init__(
        self,
        cuts: Sequence[MonoCut],
        names: Sequence[str],
        looks: Sequence[Look],
        rate_hz: int,
        setting: str,
    ) -> None:
        """`cuts` at their own rates; `rate_hz` that of what is read; `setting` for messages."""
        self._cuts, self.rate_hz, self._setting = cuts, rate_hz, setting
        self._rates = np.array([look.rate_hz for look in looks], np.int64)
        self._own_samples = np.array([look.samples for look in looks], np.int64)
        self._seeks = np.array([look.seeks for look in looks], np.bool_)
        self._heard_at = np.array([look.heard_at for look in looks], np.int64)
        keys = np.array([key_of(name) for name in names], np.uint64)
        self.fingerprint = digest(keys, self._own_samples / self._rates)
        """Another one if one of them, its name in its source or its length, is another."""

    @classmethod
    def found(
        cls,
        sources: Sequence[str],
        directory: Path,
        rate_hz: int,
        setting: str,
        most_seconds: float = math.inf,
    ) -> Recordings:
        """All of some folders and prepared sets, the sets being looked for in `directory` first.

        Raises UserError for a source that is not there or empty, and for recordings that cannot be read, end
        before their time, are silent or too long: what is drawn hangs on the list, so nothing is left out.
        """
        parts: list[Sequence[MonoCut]] = []
        names: list[str] = []
        looks: list[Look] = []
        for source in sources:
            found = _set_named(source, directory, setting)
            part, own, seen = (
                _of_folder(source, directory, setting)
                if found is None
                else (found.cuts, list(found.ids), looks_at_cuts(found.cuts))
            )
            refuse_faults(source, own, seen, most_seconds, setting)
            parts.append(part)
            names += own
            looks += seen
        return cls(_Joined(parts), names, looks, rate_hz, setting)

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
            if is_heard(piece_N):
                return np.resize(piece_N, samples)
        return np.resize(self._read(index, min(last, int(self._heard_at[index])), count), samples)

    def _read(self, index: int, first: int, count: int) -> Audio:
        """From sample `first` of its own on; at the common rate."""
        cut = self._cuts[index]
        try:
            with by_content():
                skipped = 0 if self._seeks[index] else first
                audio_N = samples_of(cut, first - skipped, skipped + count)[skipped:]
        except Exception as error:  # lhotse raises a dozen kinds, depending on what is wrong
            raise UserError(
                f"{self._setting}: {_place(cut)}: cannot be read any more: {first_line(error)}",
                "restore the file, or take it out and begin the run again",
            ) from error
        if not np.isfinite(audio_N).all():
            raise UserError(
                f"{self._setting}: {_place(cut)}: holds NaN or infinite samples",
                "take it out, or record or export it again",
            )
        return resample(audio_N, int(self._rates[index]), self.rate_hz)


class _Files(Sequence[MonoCut]):
    """A cut for each file, made when it is asked for."""

    def __init__(self, paths: Sequence[Path], looks: Sequence[Look]) -> None:
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


def _set_named(source: str, directory: Path, setting: str) -> SpeechSet | None:
    """A prepared set; None where `source` names none."""
    name = source.removesuffix(MANIFEST_SUFFIX)
    for path in (directory / f"{name}{MANIFEST_SUFFIX}", Path(f"{name}{MANIFEST_SUFFIX}")):
        folder = path.with_name(path.name.removesuffix(MANIFEST_SUFFIX))
        if path.is_file() or (folder.name.endswith(SHAR_SUFFIX) and folder.is_dir()):
            speech = SpeechSet.load(path)
            for shard, lost in speech.rejects.items():
                raise UserError(
                    f"{setting}: shard {shard} {lost['reason']}",
                    "copy the shard again, or make the shards again (asr prepare shar --data DIR --sets SET)",
                )
            return speech
    return None


def _of_folder(
    source: str, directory: Path, setting: str
) -> tuple[Sequence[MonoCut], list[str], list[Look]]:
    """Cuts, names and looks of the audio files under a folder, in the order of their paths there."""
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(
            f"{setting}: {source} is neither a folder nor a prepared set in {directory}",
            "check the path, which is relative to the working directory, or prepare the set",
        )

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{setting}: {error.filename}: {error.strerror}", "make the folder readable"
        )

    paths = [
        Path(here) / name
        for here, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")
    ]
    if not paths:
        raise UserError(
            f"{setting}: no audio under the folder {source}",
            "name a folder of WAV, FLAC, MP3 or OGG files; links to folders are not followed",
        )
    paths.sort(key=lambda path: path.relative_to(folder).parts)
    looks = looks_at_files(paths)
    return _Files(paths, looks), [str(path.relative_to(folder)) for path in paths], looks


def _place(cut: MonoCut) -> str:
    source = cut.recording.sources[0]
    return str(source.source) if source.type == "file" else f"'{cut.id}'"
