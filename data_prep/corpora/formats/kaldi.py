"""Kaldi's data folders: wav.scp, segments, text, utt2spk, spk2gender, utt2lang.

Lhotse reads them too, but runs the commands that stand in wav.scp, wants every duration, and stops at the
first line that is at fault; it is the reference of the tests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from asr.errors import UserError
from asr.utils.text_files import lines_of, read_text

from ...manifests import Span, Utterance
from ...pipeline import Settings
from .listing import Found, located, prepare_found, set_names
from .tables import clean_text

_ARCHIVE = re.compile(r".*\.ark:\d+(\[.*\])?")


def prepare_kaldi(
    folder: Path,
    settings: Settings,
    set_name: str | None = None,
    reject_overlapping: bool = False,
) -> None:
    """Prepare a data folder. Raises UserError where it is none."""
    sets = set_names(set_name)
    prepare_found(list_kaldi(folder, sets), folder, sets, settings, reject_overlapping)


def list_kaldi(folder: Path, sets: tuple[str, str]) -> Found:
    """Utterances of a data folder: those with text are of the first set, others of the second."""
    if not (folder / "wav.scp").is_file():
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        has = f"it has {', '.join(there[:8])}" if there else "it is empty"
        raise UserError(
            f"{folder}: no wav.scp" + (f"; {has}" if folder.is_dir() else ": no such folder"),
            "name a data folder of Kaldi, as data/train",
        )
    found = Found()
    recordings = _recordings(folder, found, sets[0])
    texts = dict(_pairs(folder / "text", found, sets[0], may_be_empty=True))
    speakers = dict(_pairs(folder / "utt2spk", found, sets[0]))
    genders = dict(_pairs(folder / "spk2gender", found, sets[0]))
    languages = dict(_pairs(folder / "utt2lang", found, sets[0]))
    known, where = dict[str, None](), "segments" if (folder / "segments").is_file() else "wav.scp"
    for name, path, span in _utterances(folder, recordings, found, sets[0]):
        known[name] = None
        if path is None:  # its recording is among the rejects
            continue
        speaker = speakers.get(name)
        text = texts.get(name)
        found.utterances.append(
            Utterance(
                name,
                path,
                sets[0] if text is not None else sets[1],
                text=None if text is None else clean_text(text),
                speaker=speaker,
                language=languages.get(name),
                gender=genders.get(speaker or ""),
                span=span,
            )
        )
    if texts and not texts.keys() & known.keys():
        first, other = next(iter(texts)), next(iter(known), "nothing")
        raise UserError(
            f"{folder / 'text'}: none of its {len(texts)} ids is in {where}: the first is '{first}', and "
            f"there is '{other}'",
            "put the text of this corpus there, or take it away for utterances without transcripts",
        )
    for name in texts.keys() - known.keys():
        detail = f"{folder / 'text'}: '{name}' is not in {where}"
        found.reject(name, folder / "text", sets[0], "missing_audio", detail)
    found.rejects.sort(key=lambda one: (one.reason, one.detail))
    return found


def _recordings(folder: Path, found: Found, set_name: str) -> dict[str, Path | None]:
    """Path by id; None for one that is no plain file, which is a reject."""
    scp, recordings = folder / "wav.scp", dict[str, Path | None]()
    for name, place in _pairs(scp, found, set_name):
        recordings[name] = None
        if place.startswith("|") or place.endswith("|"):
            detail = (
                f"{scp}: '{name}' is a command ({place[:60]}), and none is run: write the path of the file, "
                "which may be FLAC, MP3 or SPHERE, or run the commands and name what they wrote"
            )
            found.reject(name, scp, set_name, "command", detail)
        elif _ARCHIVE.fullmatch(place):
            detail = f"{scp}: '{name}' lies in an archive ({place}): copy it to files (wav-copy)"
            found.reject(name, scp, set_name, "archive", detail)
        else:
            recordings[name] = located(place, folder)
    return recordings


def _utterances(
    folder: Path, recordings: dict[str, Path | None], found: Found, set_name: str
) -> Iterator[tuple[str, Path | None, Span | None]]:
    segments = folder / "segments"
    if not segments.is_file():
        yield from ((name, path, None) for name, path in recordings.items())
        return
    for name, rest in _pairs(segments, found, set_name):
        recording, *numbers = rest.split()
        try:
            begin, end = (float(number) for number in numbers[:2])
        except ValueError:
            begin, end = math.nan, math.nan
        if not 0 <= begin < math.inf or not (end > begin or end == -1):
            detail = f"{segments}: '{name}': expected 'id recording begin end', in seconds: {rest}"
            found.reject(name, segments, set_name, "malformed_line", detail)
            yield name, None, None
        elif recording not in recordings:
            detail = f"{segments}: '{name}' is of '{recording}', which is not in wav.scp"
            found.reject(name, segments, set_name, "missing_audio", detail)
            yield name, None, None
        elif recordings[recording] is None:
            detail = f"{segments}: '{name}' is of '{recording}', which wav.scp names no file of"
            found.reject(name, segments, set_name, "missing_audio", detail)
            yield name, None, None
        else:
            seconds = None if end == -1 else end - begin
            yield name, recordings[recording], Span(recording, begin, seconds)


def _pairs(
    path: Path, found: Found, set_name: str, may_be_empty: bool = False
) -> Iterator[tuple[str, str]]:
    """Id and the rest of each line; none where there is no file. Lines at fault are rejects."""
    if not path.is_file():
        return
    first: dict[str, int] = {}
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        if not line.strip():
            continue
        name, *rest = line.split(maxsplit=1)
        if not rest and not may_be_empty:
            detail = f"{path}:{number}: expected an id and something after it"
            found.reject(name, path, set_name, "malformed_line", detail)
        elif name in first:
            detail = f"{path}:{number}: '{name}' is there already, line {first[name]}"
            found.reject(name, path, set_name, "duplicate_id", detail)
        else:
            first[name] = number
            yield name, rest[0].strip() if rest else ""
