"""Any folder of recordings, with or without transcripts."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

from asr.errors import UserError

from ..manifests import Reject, Utterance
from ..pipeline import Settings
from .formats.listing import Found, prepare_found, set_names
from .formats.tables import BESIDE, TABLES, Transcript, Transcripts, read_beside, read_table

NO_TRANSCRIPTS = "none"
"""Instead of a table: leave what there is alone."""
# What soundfile cannot read (m4a and the like) is listed too: it is then rejected and counted.
_EXTENSIONS = {
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf"),
    *(".sph", ".w64", ".rf64", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".mkv", ".mov"),
    ".avi",
}


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
    if transcripts is None:
        transcripts = _find_transcripts(root, settings.output)
    elif transcripts == NO_TRANSCRIPTS:
        transcripts = None
    elif transcripts not in BESIDE:
        transcripts = Path(transcripts)
    found = list_folder(root, settings.output, transcripts, sets)
    prepare_found(found, root, sets, settings, vad=vad)


def check_folder(root: Path, output: Path) -> None:
    """Raises UserError for a root that is none, and an output that is the root."""
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder", "check the path")
    if output.resolve() == root.resolve():
        raise UserError(f"--output {output} is the corpus itself", "name another folder")


def list_folder(
    root: Path, output: Path, transcripts: Path | str | None, sets: tuple[str, str]
) -> Found:
    """List audio with its transcripts, sorted by path; `sets` names the labelled and the other set.

    `transcripts` is a table or one of BESIDE. Symbolic links to folders are not followed; what lies under
    `output` is not input. Raises UserError where none of a table's rows has a recording.
    """
    files = audio_files(root, output)
    texts = Transcripts("")
    if isinstance(transcripts, Path):
        texts = read_table(transcripts, sets[0])
    elif transcripts is not None:
        texts = read_beside(files, root, transcripts, sets[0])
    keys = _matched(files, root, texts)
    if texts.by_key and not any(keys):
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
    rejects = list(texts.rejects)
    for key in texts.by_key.keys() - set(keys):
        place = texts.by_key[key].place
        detail = f"{place}: no audio file of this id or path under {root}"
        rejects.append(Reject(key, texts.source, sets[0], "missing_audio", detail))
    return Found(
        utterances, sorted(rejects, key=lambda reject: (reject.reason, reject.detail)), root=root
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


def audio_files(root: Path, output: Path) -> list[Path]:
    """All under `root` that may be audio, sorted; not what lies under `output`. UserError for none."""
    found = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [name for name in folders if (here / name).resolve() != output.resolve()]
        found += [here / name for name in files if Path(name).suffix.lower() in _EXTENSIONS]
    if not found:
        known = " ".join(sorted(extension[1:] for extension in _EXTENSIONS))
        raise UserError(
            f"--root {root}: no audio found", f"name a folder of files that end in {known}"
        )
    return sorted(found)


def _find_transcripts(root: Path, output: Path) -> Path | str | None:
    """Whichever transcripts there are. Raises UserError where there are several kinds."""
    tables = [root / name for name in TABLES if (root / name).is_file()]
    audio = audio_files(root, output)
    beside = {
        extension: [file for file in audio if file.with_suffix(f".{extension}").is_file()]
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
