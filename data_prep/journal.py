"""What decoding found, a line a recording, so that an interrupted preparation continues.

One file for all sets of OUT: a preparation that is stopped, and others made meanwhile, do not cost
what was done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from asr.utils.files import replacing

from .manifests import Utterance

JOURNAL = "checked.jsonl"
"""Name of the file in the staging folder."""


@dataclass(frozen=True)
class Outcome:
    """What became of a recording: plain values. `path` is empty when rejected."""

    path: str = ""
    samples: int = 0
    converted: bool = False
    reason: str = ""
    detail: str = ""
    parts: list[list[int]] | None = None
    """Of a recording that is cut: first sample and count at 16 kHz of each part, and what manifests.Part says
    of an MP3. None of one that is an utterance."""
    source: dict[str, Any] | None = None
    """Of a recording that is cut: manifests.Source."""
    gain: float = 1.0
    """With which it was converted: below 1 where it went beyond full scale."""
    said: list[list[Any]] | None = None
    """Of each part set, text, written text and confidence; None where all are of its set, without a text."""
    left_out: list[list[Any]] | None = None
    """Of a recording with a transcript: begin and end in seconds, reason, words, and which these are."""


def identity(utterance: Utterance, rules: str = "") -> str:
    """Says whether a file is still the one that was seen: place, size and time of change.

    The set is in it because it names the folder of converted audio; `rules` are by which it is cut, and then
    what the listing says of it counts, too.
    """
    names = [utterance.set, utterance.id, os.path.abspath(utterance.path)]
    if utterance.span is not None and utterance.span.channel is not None:
        names.append(str(utterance.span.channel))
    names += [rules] if rules else []
    names += [json.dumps(dict(utterance.custom))] if rules and utterance.custom else []
    try:
        status = utterance.path.stat()
    except (OSError, ValueError):  # the latter of what is no path
        return json.dumps(names)
    return json.dumps([*names, status.st_size, status.st_mtime_ns])


def append(file: TextIO, key: str, outcome: Outcome) -> None:
    """Add a line, at once on its way to the disk."""
    file.write(json.dumps([key, asdict(outcome)]) + "\n")
    file.flush()


def read(path: Path) -> dict[str, Outcome]:
    """Outcomes by identity, of recordings whose converted audio is still there."""
    return {
        key: outcome
        for _, key, outcome in _entries(path)
        if not outcome.converted or Path(outcome.path).is_file()
    }


def forget(path: Path, sets: Collection[str]) -> None:
    """Drop the entries of finished sets, and the file when no other is in it."""
    rest = [(key, outcome) for name, key, outcome in _entries(path) if name not in sets]
    if not rest:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as file:
        for key, outcome in rest:
            file.write((json.dumps([key, asdict(outcome)]) + "\n").encode())


def _entries(path: Path) -> Iterator[tuple[str, str, Outcome]]:
    """Set, identity and outcome of each line."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            key, values = json.loads(line)
            name, outcome = json.loads(key)[0], Outcome(**values)
        except (ValueError, TypeError, LookupError):
            continue  # The line that was being written when the run was stopped.
        yield name, key, outcome
