"""LibriSpeech in its official layout, whole or in part.

Lhotse's own recipe stops at the first bad recording, passes over missing ones with a warning, and
unpacks links that lead out of the folder, so it only serves as the reference of the tests.
"""

from __future__ import annotations

import difflib
import os
import shutil
import string
from collections.abc import Iterator
from pathlib import Path

from asr.errors import UserError
from asr.utils.text_files import lines_of, read_text

from ..fetch import check_address, checksums, fetch, unpack
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
SHA256 = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}
"""Of each part's archive, as torchaudio 2.11 has them. Of Mini LibriSpeech's none is known to us: what the
server says of itself is all that they are checked by."""
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
    check_address(mirror)
    # Archives unpack into ROOT/LibriSpeech; a root that is itself that folder is left as it is.
    target = root.parent if root.name == "LibriSpeech" else root
    corpus = target / "LibriSpeech"
    itself = [part for part in PARTS if (root / part).is_dir()] if target == root else []
    if itself:
        raise UserError(
            f"--root {root}: holds {itself[0]} itself, and --download puts parts into {corpus}",
            "rename it LibriSpeech and name that, so that they come together",
        )
    # A part without our mark was unpacked elsewhere, unless its archive lies here.
    wanted = [
        part
        for part in parts
        if not (corpus / part / ".completed").is_file()
        and (not (corpus / part).is_dir() or (target / f"{part}.tar.gz").is_file())
    ]
    for part in wanted:
        place = f"{mirror}/{31 if part in MINI_PARTS else 12}"
        archive = f"{part}.tar.gz"
        md5 = None if part in SHA256 else checksums(f"{place}/md5sum.txt").get(archive)
        fetch(f"{place}/{archive}", target / archive, md5, SHA256.get(part))
        _unpack(target / archive, target, part)


def _unpack(archive: Path, target: Path, part: str) -> None:
    """To TARGET/LibriSpeech/PART, which has its mark when it is whole."""
    partial = target / f".{part}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        unpack(archive, partial)
        _put_in_place(archive, partial / "LibriSpeech", target / "LibriSpeech", part)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(archive: Path, came: Path, corpus: Path, part: str) -> None:
    if not (came / part).is_dir():
        raise UserError(f"{archive}: holds no LibriSpeech/{part}", "remove it and fetch it again")
    corpus.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(corpus / part, ignore_errors=True)
    for path in came.iterdir():  # READMEs and lists of speakers, too, but no other part
        if path.name == part or (path.is_file() and not (corpus / path.name).exists()):
            os.replace(path, corpus / path.name)
    (corpus / part / ".completed").touch()
