"""LibriSpeech in its official layout, whole or in part.

Lhotse's own recipe stops at the first bad recording and passes over missing ones with a warning, so
it serves here for the download, and as the reference of the tests; the layout is read below.
"""

from __future__ import annotations

import difflib
import os
import string
import tarfile
from collections.abc import Iterator
from pathlib import Path

from asr.errors import UserError
from asr.utils.text_files import lines_of, read_text

from ..fetch import checksums, fetch
from ..manifests import Listing, Reject, Utterance
from ..pipeline import Settings, prepare
from .walk import closed_folders

PARTS = (
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)
"""The seven official parts."""
MINI_PARTS = ("train-clean-5", "dev-clean-2")
"""Parts of Mini LibriSpeech: same layout, prepared when named."""
MIRROR = "https://www.openslr.org/resources"
"""Where the archives come from; 12 and 31 below it hold them, with md5sum.txt."""
CHARACTERS = string.ascii_uppercase + "'"
"""Characters of the official transcripts."""

_LAYOUT = "<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt"


def prepare_librispeech(
    root: Path,
    settings: Settings,
    parts: list[str] | None = None,
    download: bool = False,
    mirror: str = MIRROR,
) -> None:
    """Prepare the named parts, or those of the seven that are present; a set is named as its part.

    `root` holds the folder LibriSpeech or is it. Raises UserError for an unknown or missing part.
    """
    for part in parts or []:
        _check_name(part)
    if download:
        _download(root, parts, mirror)
    corpus = _corpus_folder(root)
    parts = list(dict.fromkeys(parts or [part for part in PARTS if (corpus / part).is_dir()]))
    if not parts:
        raise UserError(
            f"--root {root}: no part of LibriSpeech found",
            f"unpack one of {', '.join(PARTS)} to {corpus}/{_LAYOUT}",
        )
    listings = [list_part(corpus, part) for part in parts]
    listing = Listing(
        [utterance for one in listings for utterance in one.utterances],
        [reject for one in listings for reject in one.rejects],
    )
    options = {"root": os.path.abspath(root), "parts": parts}
    prepare("librispeech", parts, options, listing, settings, CHARACTERS)


def list_part(corpus: Path, part: str) -> Listing:
    """List a part by its transcripts. Numbers missing from a chapter are normal in a partial copy.

    A transcript without audio, or audio without transcript, is a reject. Raises UserError when the
    part is missing or has no transcripts.
    """
    folder = corpus / part
    if not folder.is_dir():
        there = sorted(path.name for path in corpus.iterdir() if path.is_dir())
        raise UserError(
            f"part '{part}' is missing: {folder} does not exist; {corpus} holds "
            f"{', '.join(there) or 'no folder'}",
            "name another part, or add --download",
        )
    chapters = sorted(folder.glob("*/*/*.trans.txt"))
    if not chapters:
        raise UserError(
            f"part '{part}': no transcripts in {folder}", f"unpack it to {corpus}/{_LAYOUT}"
        )
    listing = Listing([], [])
    for transcripts in chapters:
        listing.utterances.extend(_chapter(transcripts, part))
    listing.rejects.extend(closed_folders(folder).rejects(folder, part)[0])
    transcribed = {utterance.path for utterance in listing.utterances}
    for path in sorted(set(folder.glob("*/*/*.flac")) - transcribed):
        detail = f"no line in the transcripts of {path.parent}"
        listing.rejects.append(Reject(path.stem, str(path), part, "missing_text", detail))
    return listing


def _chapter(transcripts: Path, part: str) -> Iterator[Utterance]:
    for line in lines_of(read_text(transcripts)) if transcripts.stat().st_size else []:
        if not line.strip():
            continue
        name, *words = line.split()
        yield Utterance(
            id=name,
            path=transcripts.parent / f"{name}.flac",
            set=part,
            text=" ".join(words),
            speaker=name.split("-")[0],
            language="English",
        )


def _corpus_folder(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder", "name one that holds LibriSpeech/<part>")
    inner = root / "LibriSpeech"
    return inner if inner.is_dir() else root


def _check_name(part: str) -> None:
    known = [*PARTS, *MINI_PARTS]
    if part not in known:
        nearest = difflib.get_close_matches(part, known, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"name one of {', '.join(known)}"
        raise UserError(f"--parts {part}: no part of LibriSpeech", hint)


def _download(root: Path, parts: list[str] | None, mirror: str) -> None:
    """Fetch the parts that are missing, check and unpack them. An interrupted download continues."""
    if not parts:
        raise UserError(
            "--download without --parts would fetch 60 GB", "name the parts with --parts"
        )
    from lhotse.recipes.librispeech import download_librispeech

    # Lhotse unpacks into ROOT/LibriSpeech; a root that is itself that folder is left as it is.
    target = root.parent if root.name == "LibriSpeech" else root
    corpus = target / "LibriSpeech"
    itself = [part for part in PARTS if (root / part).is_dir()] if target == root else []
    if itself:
        raise UserError(
            f"--root {root}: holds {itself[0]} itself, and --download puts parts into {corpus}",
            "rename it LibriSpeech and name that, so that they come together",
        )
    # Lhotse deletes a part that lacks its own mark, so a part from elsewhere is kept away from it.
    wanted = [
        part
        for part in parts
        if not (corpus / part / ".completed").is_file()
        and (not (corpus / part).is_dir() or (target / f"{part}.tar.gz").is_file())
    ]
    for part in wanted:
        place = f"{mirror}/{31 if part in MINI_PARTS else 12}"
        archive = f"{part}.tar.gz"
        fetch(f"{place}/{archive}", target / archive, checksums(f"{place}/md5sum.txt").get(archive))
        try:  # it finds the archive complete, and unpacks it
            download_librispeech(target, [part], base_url=mirror)
        except (OSError, tarfile.TarError) as error:
            raise UserError(
                f"{target / archive}: cannot be unpacked ({error})", "try again"
            ) from None
