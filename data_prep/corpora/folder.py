"""Any folder of recordings, with or without transcripts."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from asr.config.schema import CorpusConfig
from asr.errors import UserError

from ..contents import Contents, opened_contents
from ..manifests import Kept, Listing, Reject, Utterance
from ..pipeline import Checked, Settings, checked, prepare
from ..validate import SAMPLE_RATE_HZ, check_id

TRANSCRIPTS = "transcripts.tsv"
"""Name of the transcripts that are found without being named."""

# What soundfile cannot read (m4a and the like) is listed too: it is then rejected and counted.
_EXTENSIONS = {
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf"),
    *(
        ".sph",
        ".w64",
        ".rf64",
        ".m4a",
        ".mp4",
        ".aac",
        ".wma",
        ".webm",
        ".amr",
        ".mkv",
        ".mov",
        ".avi",
    ),
}


@dataclass(frozen=True)
class _Transcript:
    text: str
    line: int


def prepare_folder(
    root: Path,
    settings: Settings,
    transcripts: Path | None = None,
    characters: str | None = None,
    set_name: str | None = None,
    vad: str | None = None,
) -> None:
    """Prepare every audio file under `root`, to any depth.

    The id is the path relative to `root` without extension, '/' included. With a transcript an
    utterance goes to `labelled` (or `set_name`), else to `untranscribed` (or
    `set_name`-untranscribed). With `vad`, what finds speech, untranscribed files without any are left out.
    Raises UserError for a missing folder or file, too many rejects, or a
    set that is there of another root.
    """
    check_folder(root, settings.output, set_name)
    if transcripts is None and (root / TRANSCRIPTS).is_file():
        transcripts = root / TRANSCRIPTS
    sets = (set_name or "labelled", f"{set_name}-untranscribed" if set_name else "untranscribed")
    listing = list_folder(root, settings.output, transcripts, sets)
    options: dict[str, Any] = {"root": os.path.abspath(root), "sets": sets}
    with opened_contents(settings.output, "folder") as there:
        mine = claim(there, sets, root, listing)
    cut: Checked | None = None
    if vad is not None:
        from ..segmentation.voice_activity import check_speech, chosen  # imports torch

        options["without_speech_by"] = chosen(vad)
        cut = partial(checked, one=partial(check_speech, vad=vad))
    kept = prepare("folder", mine, options, listing, settings, characters, cut)
    _tell_of_long_ones(kept, root, settings.output)


def _tell_of_long_ones(kept: list[Kept], root: Path, output: Path) -> None:
    most = CorpusConfig().max_seconds
    seconds = [one.samples / SAMPLE_RATE_HZ for one in kept]
    long = [one for one in seconds if one > most]
    if long:
        print(
            f"note: {len(long):,} of {len(seconds):,} recordings are longer than a recipe takes "
            f"(corpus.max_seconds, {most:g} unless it says otherwise), the longest {max(long) / 60:.1f} "
            "minutes; training leaves them out. What has no transcript is cut where speech is by "
            f"`asr prepare segment --root {root} --output {output}`"
        )


def check_folder(root: Path, output: Path, set_name: str | None) -> None:
    """Raises UserError for a root that is none, an output that is the root, and a name that is no file's."""
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder", "check the path")
    if output.resolve() == root.resolve():
        raise UserError(f"--output {output} is the corpus itself", "name another folder")
    if set_name is not None and ("/" in set_name or check_id(set_name) is not None):
        raise UserError(f"--set-name {set_name!r}: a name becomes a file", "use letters and digits")


def claim(there: Contents, sets: tuple[str, ...], root: Path, listing: Listing) -> list[str]:
    """Of `sets`, those that are listed, and those that an earlier call made of the same root."""
    listed = {one.set for one in listing.utterances} | {one.set for one in listing.rejects}
    mine = []
    for name in sets:
        owner = (there.options_of(name) or {}).get("root")
        same = owner is not None and Path(owner).resolve() == root.resolve()
        if name in listed and owner is not None and not same:
            raise UserError(
                f"{there.output} holds the set '{name}' of {owner} already, so that of "
                f"{os.path.abspath(root)} needs another name",
                "add --set-name NAME, or give another --output",
            )
        if name in listed or same:
            mine.append(name)
    return mine


def list_folder(
    root: Path, output: Path, transcripts: Path | None, sets: tuple[str, str]
) -> Listing:
    """List audio with its transcripts, sorted by path; `sets` names the labelled and the other set.

    Symbolic links to folders are not followed; what lies under `output` is not input.
    """
    texts, rejects = _read_transcripts(transcripts, sets[0]) if transcripts else ({}, [])
    utterances = []
    used: set[str] = set()
    for path in audio_files(root, output):
        relative = path.relative_to(root)
        name, utterance_id = relative.as_posix(), relative.with_suffix("").as_posix()
        key = next((key for key in (name, utterance_id) if key in texts), None)
        if key is None:
            utterances.append(Utterance(utterance_id, path, sets[1]))
            continue
        used.add(key)
        utterances.append(Utterance(utterance_id, path, sets[0], text=texts[key].text))
    for key in texts.keys() - used:
        place = f"{transcripts}:{texts[key].line}"
        detail = f"{place}: no audio file of this id or path under {root}"
        rejects.append(Reject(key, str(transcripts), sets[0], "missing_audio", detail))
    return Listing(utterances, sorted(rejects, key=lambda reject: (reject.reason, reject.detail)))


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


def _read_transcripts(path: Path, set_name: str) -> tuple[dict[str, _Transcript], list[Reject]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(
            f"--transcripts {path}: {error.strerror}", "name a text file that can be read"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"--transcripts {path}: not UTF-8", "convert it with iconv") from None
    texts: dict[str, _Transcript] = {}
    rejects = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        key, tab, text = line.partition("\t")
        key = key.strip()
        if not tab or not key or "\t" in text:
            detail = f"{path}:{number}: expected 'id TAB text'"
            rejects.append(Reject(key, str(path), set_name, "malformed_line", detail))
        elif key in texts:
            detail = f"{path}:{number}: '{key}' has a transcript already, line {texts[key].line}"
            rejects.append(Reject(key, str(path), set_name, "duplicate_id", detail))
        else:
            texts[key] = _Transcript(clean_text(text), number)
    return texts, rejects


def clean_text(text: str) -> str:
    """Transcript with composed characters (NFC) and single spaces; nothing else changes."""
    return " ".join(unicodedata.normalize("NFC", text).split())
