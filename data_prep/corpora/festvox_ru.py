"""The Russian voice of Debian's package festvox-ru: 620 studio sentences of one speaker."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from asr.errors import UserError

from ..debian import Package
from ..manifests import Listing, Reject, Utterance
from ..pipeline import Settings, prepare
from .splits import check_limit, limit, position

CHARACTERS = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
"""Characters that a cleaned sentence may hold; the space is one too."""
TEST_SHARE, DEV_SHARE = 0.12, 0.06
"""Shares of all sentences, by the hash of the text."""

_SETS = ("test", "dev", "labelled", "untranscribed")
_UNASSIGNED = "unassigned"  # rejects that belong to no set
_PACKAGE = Package("festvox-ru", "179 MB")
_VOICE = "msu_ru_nsh_clunits"
_SENTENCES = "etc/txt.done.data"
_LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')


def prepare_festvox_ru(
    settings: Settings,
    source: Path | None = None,
    download_dir: Path | None = None,
    labelled_share: float = 0.3333,
    limit_minutes: float | None = None,
) -> None:
    """Prepare the sets test, dev, labelled and untranscribed.

    `labelled_share` is the share of the training sentences whose text is given; the others' text
    goes to references/untranscribed.tsv. `limit_minutes` keeps at most so much audio of each set.
    Raises UserError when the package cannot be had.
    """
    if not 0 <= labelled_share <= 1:
        raise UserError(
            f"--labelled-share {labelled_share} is no share", "give a number from 0 to 1"
        )
    check_limit(limit_minutes)
    store = download_dir or settings.output / "download"
    voice = _voice_folder(_PACKAGE.find_source(source, store))
    listing = limit(list_voice(voice, labelled_share), limit_minutes)
    options = {
        "voice": os.path.abspath(voice),
        "labelled_share": labelled_share,
        "limit_minutes": limit_minutes,
    }
    prepare("festvox_ru", [*_SETS, _UNASSIGNED], options, listing, settings, CHARACTERS)


def clean_text(text: str) -> str:
    """Sentence without stress marks and punctuation, in small letters; ё stays as written.

    Digits and foreign letters stay too, so that validation finds them.
    """
    composed = unicodedata.normalize("NFC", text).replace("+", "").lower()
    kept = [" " if unicodedata.category(letter)[0] in "PSZC" else letter for letter in composed]
    return " ".join("".join(kept).split())


def split_set(text: str, labelled_share: float) -> str:
    """Set of a cleaned sentence; a larger labelled share only moves sentences into `labelled`."""
    place = position(text)
    if place < TEST_SHARE:
        return "test"
    if place < TEST_SHARE + DEV_SHARE:
        return "dev"
    rest = (place - TEST_SHARE - DEV_SHARE) / (1 - TEST_SHARE - DEV_SHARE)
    return "labelled" if rest < labelled_share else "untranscribed"


def list_voice(voice: Path, labelled_share: float) -> Listing:
    """List the sentences of an unpacked voice folder, in its order."""
    sentences = voice / _SENTENCES
    try:
        lines = sentences.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{sentences}: not readable: {error}", "unpack the package again") from None
    listing = Listing([], [])
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line.strip())
        if match:
            listing.utterances.append(_utterance(voice, match[1], match[2], labelled_share))
        elif line.strip():
            detail = f'{sentences}:{number}: expected ( id "text" )'
            listing.rejects.append(
                Reject("", str(sentences), _UNASSIGNED, "malformed_line", detail)
            )
    listed = {utterance.path for utterance in listing.utterances}
    for path in sorted(set((voice / "wav").glob("*.wav")) - listed):
        detail = f"no sentence in {sentences}"
        listing.rejects.append(Reject(path.stem, str(path), _UNASSIGNED, "missing_text", detail))
    return listing


def _utterance(voice: Path, name: str, text: str, labelled_share: float) -> Utterance:
    clean = clean_text(text)
    chosen = split_set(clean, labelled_share)
    withheld = chosen == "untranscribed"
    return Utterance(
        id=name,
        path=voice / "wav" / f"{name}.wav",
        set=chosen,
        text=None if withheld else clean,
        reference=clean if withheld else None,
        speaker="nsh",
        language="Russian",
    )


def _voice_folder(folder: Path) -> Path:
    for candidate in [folder, *sorted(folder.rglob(_VOICE))]:
        if (candidate / "wav").is_dir() and (candidate / _SENTENCES).is_file():
            return candidate
    raise UserError(
        f"{folder}: no voice found",
        f"name a folder that holds {_VOICE}/wav and {_VOICE}/{_SENTENCES}",
    )
