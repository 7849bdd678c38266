"""Data sets of Hugging Face's `datasets` on disk: what save_to_disk wrote, or a folder of Parquet files.

pyarrow reads both, so that the package itself is not needed; audio comes with them, or as paths.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow
from pyarrow import ipc, parquet

from asr.errors import UserError
from asr.utils.files import replacing
from asr.utils.text_files import json_of

from ...manifests import Utterance
from ...pipeline import Settings
from ...validate import check_id
from .listing import Found, first_known, located, prepare_found, set_names
from .tables import clean_text

AUDIO = "audio-given"
"""Folder in OUT of the recordings that a data set holds."""
_AUDIO_COLUMNS = ("audio", "speech", "file", "path")
_TEXT_COLUMNS = (
    "text",
    "sentence",
    "transcription",
    "transcript",
    "normalized_text",
    "raw_transcription",
)
_ID_COLUMNS = ("id", "utt_id", "segment_id", "utterance_id")
_SPEAKERS = ("speaker_id", "speaker", "client_id")
_LANGUAGES = ("language", "locale", "lang")
_KINDS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}
_ROWS = 256
T = TypeVar("T")


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; None: the first that is there of those that people use."""

    audio: str | None = None
    text: str | None = None
    id: str | None = None


def prepare_hugging_face(
    folder: Path,
    settings: Settings,
    columns: Columns,
    set_name: str | None = None,
) -> None:
    """Prepare a data set; each split becomes a set. Raises UserError where there is none, or a column lacks."""
    splits = _splits(folder)
    found, sets = Found(), list[str]()
    for split, files in splits.items():
        wanted = set_name
        if split:
            wanted = split if set_name is None else f"{set_name}-{split}"
        pair = set_names(wanted)
        sets += pair
        _add_split(found, files, columns, settings.output / AUDIO / pair[0], pair)
    prepare_found(found, folder, sets, settings)


def _splits(folder: Path) -> dict[str, list[Path]]:
    """Arrow or Parquet files by the name of the split; '' of a data set without."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", "name what save_to_disk wrote")
    if (folder / "dataset_dict.json").is_file():
        names = _noted(folder / "dataset_dict.json", lambda tree: list(map(str, tree["splits"])))
        return {name: _arrow_files(folder / name) for name in names}
    if (folder / "state.json").is_file():
        return {"": _arrow_files(folder)}
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        found.setdefault(path.name.removesuffix(".parquet").split("-")[0], []).append(path)
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{folder}: is no data set on disk; it has {there}",
            "name a folder that Dataset.save_to_disk wrote, or one of .parquet files",
        )
    return found


def _arrow_files(folder: Path) -> list[Path]:
    state, names = _noted(
        folder / "state.json",
        lambda tree: (tree, [str(one["filename"]) for one in tree["_data_files"]]),
    )
    if state.get("_indices_files"):
        raise UserError(
            f"{folder}: its rows are picked by an index", "save flatten_indices() of the data set"
        )
    return [folder / name for name in names]


def _noted(path: Path, taken: Callable[[Any], T]) -> T:
    """What is `taken` from a file of JSON. Raises UserError where that is not in it."""
    try:
        return taken(json_of(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path}: not readable ({type(error).__name__}: {error})", "save the data set again"
        ) from None


def _rows(path: Path) -> Iterator[tuple[pyarrow.Schema, list[dict[str, Any]]]]:
    try:
        if path.suffix == ".parquet":
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_ROWS):
                    yield batch.schema, batch.to_pylist()
            return
        with pyarrow.memory_map(str(path)) as source, ipc.open_stream(source) as stream:
            for batch in stream:
                for start in range(0, len(batch), _ROWS):
                    yield batch.schema, batch.slice(start, _ROWS).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise _DamagedError(f"{path}: damaged or cut short ({reason})") from None


class _DamagedError(Exception):
    """A file of rows that cannot be read, or not to its end."""


def _add_split(
    found: Found, files: list[Path], columns: Columns, store: Path, sets: tuple[str, str]
) -> None:
    before, number = {one.id for one in found.utterances}, 0
    for path in files:
        try:
            for schema, rows in _rows(path):
                names = _names(path, schema.names, columns)
                for row in rows:
                    number += 1
                    try:
                        one = _utterance(row, number, names, store, path, sets)
                    except ValueError as error:
                        shown = str(row.get(names[2] or "") or number)
                        detail = f"{path}: row {number}: {error}"
                        found.reject(shown, path, sets[0], "malformed_row", detail)
                        continue
                    # Ids of a split alone may be those of another.
                    name = f"{sets[0]}-{one.id}" if one.id in before else one.id
                    found.utterances.append(replace(one, id=name))
        except _DamagedError as error:
            detail = f"{error} after row {number}; copy it or save the data set again"
            found.reject(path.name, path, sets[0], "damaged_file", detail)


def _names(path: Path, there: list[str], columns: Columns) -> tuple[str, str | None, str | None]:
    """Of the columns of audio, texts and ids. Raises UserError where one lacks."""
    audio = _column(path, there, "--audio-column", columns.audio, _AUDIO_COLUMNS)
    text = _column(path, there, "--text-column", columns.text, _TEXT_COLUMNS, False)
    name = _column(path, there, "--id-column", columns.id, _ID_COLUMNS, False)
    assert audio is not None
    return audio, text, name


def _column(
    path: Path,
    there: list[str],
    option: str,
    wanted: str | None,
    usual: tuple[str, ...],
    is_needed: bool = True,
) -> str | None:
    name = wanted or next((name for name in usual if name in there), None)
    if name is not None and name in there:
        return name
    if wanted is None and not is_needed:
        return None
    what = f"no column '{wanted}'" if wanted else f"none of the columns {', '.join(usual)}"
    raise UserError(f"{path}: {what}; it has {', '.join(there)}", f"name it: {option} NAME")


def _utterance(
    row: Mapping[str, Any],
    number: int,
    columns: tuple[str, str | None, str | None],
    store: Path,
    source: Path,
    sets: tuple[str, str],
) -> Utterance:
    """Raises ValueError for a row without audio."""
    audio_column, text_column, id_column = columns
    audio = row[audio_column]
    given = audio.get("path") if isinstance(audio, Mapping) else audio
    name = None if id_column is None else row[id_column]
    if name in (None, ""):
        name = (
            Path(given).with_suffix("").name
            if isinstance(given, str) and given
            else f"{number:07d}"
        )
    name = str(name)
    if isinstance(audio, Mapping) and audio.get("bytes"):
        path = _written(audio["bytes"], name, store)
    elif isinstance(given, str) and given:
        path = located(given, source.parent)
    else:
        kind = "an array" if isinstance(audio, Mapping) and "array" in audio else "nothing"
        raise ValueError(f"'{audio_column}' holds {kind}, and a file's bytes or path are asked for")
    text = None if text_column is None else row[text_column]
    if text is not None and not isinstance(text, str):
        raise ValueError(f"'{text_column}' is {text!r} and no text")
    taken = {*columns, *_SPEAKERS, *_LANGUAGES, "gender"}
    plain = (str, int, float, bool)
    return Utterance(
        name,
        path,
        sets[0] if text is not None else sets[1],
        text=None if text is None else clean_text(text),
        speaker=first_known(row, _SPEAKERS),
        language=first_known(row, _LANGUAGES),
        gender=first_known(row, ("gender",)),
        custom={k: v for k, v in row.items() if k not in taken and isinstance(v, plain)},
    )


def _written(content: bytes, name: str, store: Path) -> Path:
    """The recording as a file, whose name is that of its content: written once."""
    mark = hashlib.sha256(content).hexdigest()[:12]
    kind = _KINDS.get(content[:4], ".mp3")
    safe = name if check_id(name) is None else "recording"
    path = store / f"{safe}.{mark}{kind}"
    if not path.is_file() or os.path.getsize(path) != len(content):
        with replacing(path) as file:
            file.write(content)
    return path
