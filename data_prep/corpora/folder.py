"""Any folder of recordings, with or without transcripts."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import Counter
from pathlib import Path

from asr.errors import UserError

from ..manifests import Reject, Utterance
from ..pipeline import Settings
from .formats.listing import Found, prepare_found, set_names
from .formats.tables import BESIDE, TABLES, Transcript, Transcripts, read_beside, read_table
from .walk import Walk, walk

NO_TRANSCRIPTS = "none"
"""Instead of a table: leave what there is alone."""
_MOST_COMPARED, _MOST_SHOWN = 5_000, 50


def prepare_folder(
    root: Path,
    settings: Settings,
    transcripts: Path | str | None = None,
    set_name: str | None = None,
    vad: str | None = None,
) -> None:
    """Prepare every audio file under `root`, to any depth.

    The id is the path relative to `root` without extension, '/' included. With a transcript an
    utterance goes to `labelled` (or `set_name`), else to `untranscribed` (or
    `set_name`-untranscribed). `transcripts` is a table, one of BESIDE, or NO_TRANSCRIPTS; None: what is
    there. With `vad`, what finds speech, untranscribed files without any are left out. Raises UserError for a
    missing folder or file, too many rejects, or a set that is there of another root.
    """
    check_folder(root, settings.output)
    sets = set_names(set_name)
    there = walk(root, settings.output)
    if transcripts is None:
        transcripts = _find_transcripts(root, there.files)
    elif transcripts == NO_TRANSCRIPTS:
        transcripts = None
    elif transcripts not in BESIDE:
        transcripts = Path(transcripts)
    found = list_folder(root, there, transcripts, sets)
    prepare_found(found, root, sets, settings, vad=vad)


def check_folder(root: Path, output: Path) -> None:
    """Raises UserError for a root that is none, and an output that is the root."""
    if not root.is_dir():
        what = "is a file" if root.is_file() else "no such folder"
        raise UserError(f"--root {root}: {what}", "name the folder that the recordings are in")
    if output.resolve() == root.resolve():
        raise UserError(f"--output {output} is the corpus itself", "name another folder")


def list_folder(
    root: Path, there: Walk, transcripts: Path | str | None, sets: tuple[str, str]
) -> Found:
    """What is there with its transcripts, sorted by path; `sets` names the labelled and the other set.

    `transcripts` is a table or one of BESIDE. Raises UserError where none of a table's rows has a recording.
    """
    files = there.files
    texts = Transcripts("")
    if isinstance(transcripts, Path):
        names = {str(file.relative_to(root).with_suffix("")) for file in files}
        texts = read_table(transcripts, sets[0], names | {file.name for file in files})
    elif transcripts is not None:
        texts = read_beside(files, root, transcripts, sets[0])
    keys = _matched(files, root, texts)
    notes = [*there.notes(), *_match_but_for_case(keys, files, root, texts)]
    if texts.by_key and files and not any(keys):
        key, one = next(iter(texts.by_key.items()))
        raise UserError(
            f"{one.place}: none of {len(texts.by_key)} ids or paths is of a recording under {root}: the first "
            f"is '{key}', and a recording is '{files[0].relative_to(root)}'",
            "write paths relative to --root, with or without extension, or name the folder they are of",
        )
    faulty = {reject.id for reject in texts.rejects} if texts.is_exact else set()
    utterances = [
        _utterance(file, root, texts.by_key.get(key or ""), sets)
        for file, key in zip(files, keys, strict=True)
        if key is None or key not in faulty
    ]
    unreadable, left_out = there.rejects(root, sets[1])
    rejects = [*texts.rejects, *unreadable]
    paths = [file.relative_to(root).with_suffix("").as_posix() for file in files]
    stems = {path.casefold(): path for path in paths}
    missing = texts.by_key.keys() - set(keys)
    is_compared = len(stems) <= _MOST_COMPARED and len(missing) <= _MOST_SHOWN
    for key in missing:
        place = texts.by_key[key].place
        near = difflib.get_close_matches(key.casefold(), stems, 1) if is_compared else []
        shown = f"; the nearest is '{stems[near[0]]}'" if near else ""
        detail = f"{place}: no audio file of this id or path under {root}{shown}"
        rejects.append(Reject(key, texts.source, sets[0], "missing_audio", detail))
    return Found(
        utterances,
        sorted(rejects, key=lambda reject: (reject.reason, reject.detail)),
        notes,
        root,
        left_out,
    )


def _utterance(
    file: Path, root: Path, transcript: Transcript | None, sets: tuple[str, str]
) -> Utterance:
    name = file.relative_to(root).with_suffix("").as_posix()
    if transcript is None:
        return Utterance(name, file, sets[1])
    return Utterance(
        transcript.id or name,
        file,
        sets[0],
        text=transcript.text,
        speaker=transcript.speaker,
        language=transcript.language,
        gender=transcript.gender,
        custom=transcript.custom,
    )


def _matched(files: list[Path], root: Path, texts: Transcripts) -> list[str | None]:
    """Of each recording the key of its transcript: its path, else its name where no other has that."""
    relative = [file.relative_to(root) for file in files]
    names = [path.as_posix() for path in relative]
    stems = [path.with_suffix("").as_posix() for path in relative]
    places = [os.path.abspath(file) for file in files]
    given = {unicodedata.normalize("NFC", os.path.normpath(key)): key for key in texts.by_key}

    def known(name: str) -> str | None:
        return name if name in texts.by_key else given.get(unicodedata.normalize("NFC", name))

    found = [
        next((key for key in map(known, paths) if key is not None), None)
        for paths in zip(names, stems, places, strict=True)
    ]
    if texts.is_exact:
        return found
    used = {key for key in found if key is not None}
    ends = [(path.name, path.stem) for path in relative]
    counts = Counter(end for pair in ends for end in {*pair})
    for place, pair in enumerate(ends):
        if found[place] is None:
            short = (known(end) for end in pair if counts[end] == 1)
            found[place] = next((key for key in short if key is not None and key not in used), None)
    return found


def _match_but_for_case(
    keys: list[str | None], files: list[Path], root: Path, texts: Transcripts
) -> list[str]:
    """Fill in the keys that are a recording's but for case, where only one is; what to say of it."""
    if texts.is_exact or not texts.by_key:
        return []

    def folded(name: str) -> str:
        return unicodedata.normalize("NFC", os.path.normpath(name)).casefold()

    used = {key for key in keys if key is not None}
    open_keys, open_files = dict[str, list[str]](), dict[str, list[int]]()
    for key in texts.by_key.keys() - used:
        open_keys.setdefault(folded(key), []).append(key)
    for place, file in enumerate(files):
        if keys[place] is None:
            path = file.relative_to(root)
            ends = {path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem}
            for name in {folded(end) for end in ends}:
                open_files.setdefault(name, []).append(place)
    shown = list[str]()
    for name, candidates in sorted(open_keys.items()):
        places = [place for place in open_files.get(name, []) if keys[place] is None]
        if len(candidates) == 1 and len(places) == 1:
            keys[places[0]] = candidates[0]
            shown.append(f"'{candidates[0]}' is '{files[places[0]].relative_to(root)}'")
    if not shown:
        return []
    return [f"{len(shown)} transcripts are matched but for upper and lower case: {shown[0]}"]


def _find_transcripts(root: Path, audio: list[Path]) -> Path | str | None:
    """Whichever transcripts there are. Raises UserError where there are several kinds."""
    tables = [root / name for name in TABLES if os.path.isfile(root / name)]
    beside = {
        extension: [file for file in audio if os.path.isfile(file.with_suffix(f".{extension}"))]
        for extension in BESIDE
    }
    found: list[Path | str] = [*tables, *(name for name, files in beside.items() if files)]
    if len(found) > 1:
        shown = [
            str(one)
            if isinstance(one, Path)
            else f".{one} files beside {len(beside[one])} recordings"
            for one in found
        ]
        raise UserError(
            f"--root {root}: transcripts stand in {' and in '.join(shown)}",
            f"name one of them: --transcripts {found[0]}, or --transcripts {found[1]}",
        )
    return found[0] if found else None
