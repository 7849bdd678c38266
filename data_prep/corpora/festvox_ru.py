"""The Russian voice of Debian's package festvox-ru: 620 studio sentences of one speaker.

The package is fetched with `apt-get download` and unpacked with `dpkg-deb -x`: no root is needed,
and nothing is installed.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import soundfile

from asr.errors import UserError

from ..manifests import Listing, Reject, Utterance
from ..pipeline import Settings, prepare

CHARACTERS = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
"""Characters that a cleaned sentence may hold; the space is one too."""
TEST_SHARE, DEV_SHARE = 0.12, 0.06
"""Shares of all sentences, by the hash of the text."""

_SETS = ("test", "dev", "labelled", "untranscribed")
_UNASSIGNED = "unassigned"  # rejects that belong to no set
_PACKAGE = "festvox-ru"
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
    if limit_minutes is not None and not 0 < limit_minutes < math.inf:
        raise UserError(f"--limit-minutes {limit_minutes} is too few", "give a number above 0")
    voice = _find_source(source, download_dir or settings.output / "download")
    listing = list_voice(voice, labelled_share)
    if limit_minutes is not None:
        listing = _limit(listing, limit_minutes)
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


def position(text: str) -> float:
    """Where a cleaned sentence falls in [0, 1): equal sentences always fall into the same set."""
    # 53 bits are what a float holds exactly; more would round up to 1.
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2.0**53


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


def _limit(listing: Listing, minutes: float) -> Listing:
    """Keep the first `minutes` of each set in the order of the hashed id; a larger limit adds."""
    left = dict.fromkeys(_SETS, minutes * 60)
    chosen = set()
    by_hash = sorted(listing.utterances, key=lambda utterance: position(utterance.id))
    for utterance in by_hash:
        left[utterance.set] -= _stated_seconds(utterance.path)
        if left[utterance.set] >= 0:
            chosen.add(utterance.id)
    return Listing([one for one in listing.utterances if one.id in chosen], listing.rejects)


def _stated_seconds(path: Path) -> float:
    try:
        return float(soundfile.info(path).duration)
    except (OSError, soundfile.SoundFileError):
        return 0.0  # Validation will say what is wrong with it.


def _find_source(source: Path | None, download_dir: Path) -> Path:
    if source is not None and not source.exists():
        raise UserError(f"--source {source}: no such file or folder", "check the path")
    if source is not None and source.is_dir():
        return _voice_folder(source)
    return _voice_folder(_unpack(source or _download(download_dir), download_dir))


def _voice_folder(folder: Path) -> Path:
    for candidate in [folder, *sorted(folder.rglob(_VOICE))]:
        if (candidate / "wav").is_dir() and (candidate / _SENTENCES).is_file():
            return candidate
    raise UserError(
        f"{folder}: no voice found",
        f"name a folder that holds {_VOICE}/wav and {_VOICE}/{_SENTENCES}",
    )


def _download(download_dir: Path) -> Path:
    """Fetch the package with apt-get, unless it is there. A partial file never has its name."""
    present = sorted(download_dir.glob(f"{_PACKAGE}_*.deb"))
    if present:
        return present[-1]
    print(f"fetching {_PACKAGE} (179 MB) to {download_dir}")
    partial = download_dir / ".partial"
    partial.mkdir(parents=True, exist_ok=True)
    _call(["apt-get", "download", _PACKAGE], partial)
    fetched = sorted(partial.glob(f"{_PACKAGE}_*.deb"))
    if not fetched:
        raise UserError(f"'apt-get download {_PACKAGE}' brought no file", "use --source FILE.deb")
    target = download_dir / fetched[-1].name
    os.replace(fetched[-1], target)
    shutil.rmtree(partial)
    return target


def _unpack(package: Path, download_dir: Path) -> Path:
    """Unpack in user space, unless done; the folder has its name only when it is whole."""
    # Two packages of one name are told apart, so that the second is not taken for the first.
    status = package.stat()
    mark = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:8]
    target = download_dir / f"{package.stem}-{mark}"
    if target.is_dir():
        return target
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _call(["dpkg-deb", "-x", str(package.resolve()), str(partial.resolve())], download_dir)
    os.replace(partial, target)
    return target


def _call(command: list[str], folder: Path) -> None:
    elsewhere = f"a {_PACKAGE} .deb fetched elsewhere can be given with --source"
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not on this machine (not Debian?)", elsewhere) from None
    if done.returncode == 0:
        return
    words = " ".join((done.stderr or done.stdout).split())
    remedy = elsewhere
    if command[0] == "apt-get":
        remedy = (
            f"bring the package lists with 'sudo apt-get update' and try again, or: {elsewhere}"
        )
    raise UserError(f"'{' '.join(command)}' failed: {words}", remedy)
