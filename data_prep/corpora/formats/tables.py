"""Transcripts of a folder of recordings: a table with or without a heading, or a text file beside each."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import UserError
from asr.utils.text_files import decoded, lines_of, read_text

from ...manifests import Reject

TABLES = ("transcripts.tsv", "transcripts.csv")
"""Names under which a table is found without being named."""
BESIDE = ("txt", "lab")
"""Extensions of transcripts beside the recordings."""

_IDS = ("id", "utt_id", "utterance_id", "utt", "utterance")
_PATHS = ("path", "file", "filename", "file_name", "audio", "audio_path", "audio_filepath", "wav")
_TEXTS = ("text", "transcript", "transcription", "sentence")
_SPEAKERS = ("speaker", "speaker_id", "client_id")
_LANGUAGES = ("language", "lang", "locale")
_GENDERS = ("gender", "sex")
_HTK = re.compile(r"\s*\d+\s+\d+\s+\S+.*")


@dataclass(frozen=True)
class Transcript:
    """A row of a table, or a file beside a recording."""

    text: str
    place: str
    """File and line."""
    id: str | None = None
    """Where a table has ids and paths."""
    speaker: str | None = None
    language: str | None = None
    gender: str | None = None
    custom: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Transcripts:
    """By key, which names a recording: its path, with or without extension."""

    source: str
    by_key: dict[str, Transcript] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    is_exact: bool = False
    """Whether keys are paths as they were found, and no others."""

    def add(self, key: str, transcript: Transcript, set_name: str) -> None:
        """Take one more; a key that was there already is a reject."""
        if key in self.by_key:
            first = self.by_key[key].place.rpartition(":")[2]
            detail = f"{transcript.place}: '{key}' has a transcript already, line {first}"
            self.rejects.append(Reject(key, self.source, set_name, "duplicate_id", detail))
        else:
            self.by_key[key] = transcript

    def reject_line(self, key: str, place: str, set_name: str, expected: str) -> None:
        """A line that is none of the table."""
        detail = f"{place}: expected {expected}"
        self.rejects.append(Reject(key, self.source, set_name, "malformed_line", detail))


def clean_text(text: str) -> str:
    """Transcript with composed characters (NFC) and single spaces; nothing else changes."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def read_table(path: Path, set_name: str, recordings: Collection[str] = ()) -> Transcripts:
    """Rows of `id TAB text`, or of a table whose heading names its columns (TAB, comma or semicolon).

    Lines at fault are rejects. `recordings` are names that there are: one called `path` makes no heading.
    Raises UserError for a file that is unreadable, or lacks a column or rows.
    """
    text = read_text(path, "--transcripts")
    found = Transcripts(str(path))
    heading = lines_of(text)[0]
    delimiter = _delimiter_of(path, heading)
    cells = heading.split("\t")
    if delimiter == "\t" and len(cells) == 2 and cells[0].strip() in recordings:
        delimiter = None
    if delimiter is None:
        for number, line in enumerate(lines_of(text), start=1):
            if line.strip():
                _add_plain(found, line, f"{path}:{number}", set_name)
        return found
    _add_rows(found, path, text, delimiter, set_name)
    if not found.by_key and not found.rejects:
        raise UserError(f"--transcripts {path}: has a heading and no rows", "export it again")
    return found


def _delimiter_of(path: Path, heading: str) -> str | None:
    """What parts the columns of a table with a heading; None of one without.

    Raises UserError for a CSV file whose first line is none.
    """
    is_csv = path.name.lower().removesuffix(".gz").endswith(".csv")
    for delimiter in (",", ";", "\t") if is_csv else ("\t",):
        names = _columns(heading, delimiter)
        named = [_first(names, group) is not None for group in ((*_IDS, *_PATHS), _TEXTS)]
        if all(named):
            return delimiter
        looks_like_heading = sum(name in _KNOWN for name in names)
        if len(names) > 1 and (looks_like_heading > 1 or (is_csv and looks_like_heading)):
            lacking = "id or path" if not named[0] else "text"
            raise UserError(
                f"--transcripts {path}:1: no column '{lacking}' among {', '.join(names)}",
                f"name it so (also known: {', '.join(_TEXTS if named[0] else (*_IDS, *_PATHS))})",
            )
    if is_csv:
        raise UserError(
            f"--transcripts {path}:1: the first line names no columns ({heading[:60]!r})",
            "write the heading id,text or path,text, and what else there is: speaker, language, gender",
        )
    return None


def _columns(heading: str, delimiter: str) -> list[str]:
    row = next(csv.reader([heading], delimiter=delimiter), [])
    return [name.strip().lower() for name in row]


_KNOWN = {*_IDS, *_PATHS, *_TEXTS, *_SPEAKERS, *_LANGUAGES, *_GENDERS}


def _first(names: list[str], known: Iterable[str]) -> int | None:
    """The column that has one of the names, the first of them that is there."""
    return next((names.index(name) for name in known if name in names), None)


def _add_plain(found: Transcripts, line: str, place: str, set_name: str) -> None:
    key, tab, text = line.partition("\t")
    key = key.strip()
    if not tab or not key or "\t" in text:
        found.reject_line(key, place, set_name, "'id TAB text'")
    else:
        found.add(key, Transcript(clean_text(text), place), set_name)


def _add_rows(found: Transcripts, path: Path, text: str, delimiter: str, set_name: str) -> None:
    # A TSV has quotes as they are, so that one that is never closed does not swallow the rest.
    lines = io.StringIO(text, newline="")
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    names = [name.strip() for name in next(reader)]
    lower = [name.lower() for name in names]
    columns = {
        "id": _first(lower, _IDS),
        "path": _first(lower, _PATHS),
        "text": _first(lower, _TEXTS),
        "speaker": _first(lower, _SPEAKERS),
        "language": _first(lower, _LANGUAGES),
        "gender": _first(lower, _GENDERS),
    }
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            place = f"{path}:{reader.line_num}"
            known = {
                name: row[at].strip()
                for name, at in columns.items()
                if at is not None and at < len(row)
            }
            key = known.get("path") or known.get("id") or ""
            if len(row) != len(names) or not key:
                expected = f"{len(names)} columns and an id, and it has {len(row)} columns"
                found.reject_line(key, place, set_name, expected)
                continue
            used = set(columns.values())
            custom = {
                names[at]: cell
                for at, cell in enumerate(row)
                if at not in used and cell and names[at]
            }
            transcript = Transcript(
                clean_text(known["text"]),
                place,
                id=known.get("id") if "path" in known else None,
                speaker=known.get("speaker") or None,
                language=known.get("language") or None,
                gender=known.get("gender") or None,
                custom=custom,
            )
            found.add(key, transcript, set_name)
    except csv.Error as error:
        raise UserError(
            f"--transcripts {path}:{reader.line_num}: not readable as a table ({error})",
            "quote what has quotes or line ends, or export it again",
        ) from None


def read_beside(files: Iterable[Path], root: Path, extension: str, set_name: str) -> Transcripts:
    """The text beside each recording, in a file of the same name with another extension."""
    found = Transcripts(f".{extension} files under {root}", is_exact=True)
    for file in files:
        path = file.with_suffix(f".{extension}")
        if not os.path.isfile(path):
            continue
        name = file.relative_to(root).as_posix()
        try:
            text = decoded(path.read_bytes(), str(path))
        except (UserError, OSError) as error:
            found.by_key[name] = Transcript("", str(path))  # not to be taken for one without text
            found.rejects.append(Reject(name, str(path), set_name, "unreadable_text", str(error)))
            continue
        lines = [line for line in lines_of(text) if line.strip()]
        if extension == "lab" and lines and all(map(_HTK.fullmatch, lines)):
            detail = f"{path}: has times (begin, end, label), and words are asked for"
            found.by_key[name] = Transcript("", str(path))
            found.rejects.append(Reject(name, str(path), set_name, "malformed_text", detail))
            continue
        found.by_key[name] = Transcript(clean_text(" ".join(lines)), str(path))
    return found
