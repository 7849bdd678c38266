"""What a cut may ask for: a manifest may come from a stranger, and Lhotse would run what it names.

A source of type `command` is a shell command, a `url` may be one, a file whose name ends in .sph becomes one,
and a transform may hold a recording of its own. So what may be read is listed here, and all cuts pass by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from asr.errors import UserError

FILES: Collection[str] = ("file",)
FILES_AND_TARS: Collection[str] = ("file", "tar")
"""Of a Shar folder's index; only ours has `tar`."""
FILES_AND_MEMORY: Collection[str] = ("file", "memory")
"""Of cuts that a program made."""
_TRANSFORMS = ("Speed", "Resample", "Volume")
_STORAGES = ("numpy_files", "lilcom_files", "lilcom_chunky")
_REMEDY = "take it out, or prepare that audio as files (asr prepare)"


def admit(cut: Mapping[str, Any], sources: Collection[str]) -> None:
    """Let a cut pass, as JSON has it. Raises UserError for one that asks for more than to be read.

    `sources` are the types that its recording may have.
    """
    recording, features = cut.get("recording"), cut.get("features")
    if recording:
        for source in recording["sources"]:
            kind, place = source.get("type"), source.get("source")
            if kind not in sources:
                raise _refused(cut, f"its recording is a '{kind}' and not a file")
            if kind == "file" and (not isinstance(place, str) or place == "-"):
                raise _refused(cut, f"its recording is no path ({str(place)[:40]!r})")
        for transform in recording.get("transforms") or ():
            _check_transform(cut, transform)
    if features and features.get("storage_type") not in _STORAGES:
        raise _refused(cut, f"its features are stored as '{features.get('storage_type')}'")


def _check_transform(cut: Mapping[str, Any], transform: Any) -> None:
    name = transform.get("name") if isinstance(transform, Mapping) else transform
    if name not in _TRANSFORMS:
        raise _refused(cut, f"its recording has the transform '{name}'")
    if not all(
        isinstance(value, (int, float)) for value in (transform.get("kwargs") or {}).values()
    ):
        raise _refused(cut, f"its transform '{name}' has settings that are no numbers")


def _refused(cut: Mapping[str, Any], why: str) -> UserError:
    return UserError(f"utterance '{cut.get('id')}' is not read: {why}", _REMEDY)


@cache
def _libsndfile() -> Any:
    from lhotse.audio.backend import LibsndfileBackend

    return LibsndfileBackend()


@contextmanager
def by_content() -> Iterator[None]:
    """Let Lhotse read audio with libsndfile alone, which goes by what a file holds and not by its name."""
    from lhotse.audio import get_current_audio_backend, set_current_audio_backend

    before = get_current_audio_backend()
    set_current_audio_backend(_libsndfile())
    try:
        yield
    finally:
        set_current_audio_backend(before)
