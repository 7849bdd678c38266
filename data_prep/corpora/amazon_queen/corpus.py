"""The corpus: which recordings go into which set, and with which text."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from asr.errors import UserError

from ...debian import Package
from ...manifests import Listing, Reject, Utterance
from ...pipeline import Settings, prepare
from ...validate import Fault
from ..splits import check_limit, first_minutes, limit, position
from .container import read_container
from .derived import DERIVED, write_derived
from .dialogue import JOE, Segment, list_segments, write_segments
from .texts import CHARACTERS, letters_text, written_text

TEST_CHARACTERS = frozenset({"sparky", "faye", "naomi", "henry"})
DEV_CHARACTERS = frozenset({"frank", "laris", "zombie"})
JOES_TEST_SHARE, JOES_DEV_SHARE = 0.06, 0.04
"""Shares of the main character's texts, by their hash."""
NEAR = 0.1
"""Training has no text whose letters differ from one of dev or test by at most this share of edits."""
SHA256 = "cc91960d133fcd4173eda4bac304e80d2bbdbaa085640287ab9e0507bd603f67"
"""Of queen.1c in Debian's package 1.0.0-9. What the package is packed into does not matter."""

_FILE = "queen.1c"
_PACKAGE = Package("flight-of-the-amazon-queen", "35 MB")
_NO_REFERENCE = "untranscribed_no_reference"
_TRAINING = "training"  # labelled or untranscribed
_SETS = ("test", "dev", "labelled", "untranscribed", _NO_REFERENCE)


def prepare_amazon_queen(
    settings: Settings,
    source: Path | None = None,
    download_dir: Path | None = None,
    labelled_minutes: float = 30.0,
    limit_minutes: float | None = None,
) -> None:
    """Prepare test, dev, labelled, untranscribed, untranscribed_no_reference, and what is derived of them.

    `labelled_minutes` of the training characters' speech keep their transcripts; those of the rest go to
    references/untranscribed.tsv. `limit_minutes` keeps at most so much audio of each set. Raises
    UserError when the package cannot be had, or is not the one that the recipe was written for.
    """
    if not 0 <= labelled_minutes < math.inf:
        raise UserError(f"--labelled-minutes {labelled_minutes} is no length", "give 0 or more")
    check_limit(limit_minutes)
    store = download_dir or settings.output / "download"
    path = _container_in(_PACKAGE.find_source(source, store))
    mark = _checked_mark(path)
    segments = list_segments(container := read_container(path))
    folder = store / f"amazon_queen-{mark}"
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_segments(container, partial)
        os.replace(partial, folder)
    listing = limit(list_corpus(segments, folder, labelled_minutes), limit_minutes)
    options = {
        "segments": os.path.abspath(folder),
        "labelled_minutes": labelled_minutes,
        "limit_minutes": limit_minutes,
    }
    prepare("amazon_queen", [*_SETS, _TRAINING, *DERIVED], options, listing, settings, CHARACTERS)
    write_derived(settings.output)


def list_corpus(segments: Iterable[Segment], folder: Path, labelled_minutes: float) -> Listing:
    """The segments, whose audio lies in `folder`, by set; what stays out is `left_out`."""
    by_set: dict[str, list[Utterance]] = {"test": [], "dev": [], _TRAINING: [], _NO_REFERENCE: []}
    left_out = []
    for segment in segments:
        one = _utterance(segment, folder)
        if len(segment.texts) > 1:
            detail = f"the game has {len(segment.texts)} texts for it: {' | '.join(segment.texts)}"
            left_out.append(Reject.of(one, Fault("ambiguous_text", detail)))
        elif one.set == _NO_REFERENCE and segment.character in TEST_CHARACTERS | DEV_CHARACTERS:
            detail = f"{segment.character} stays unheard in training"
            left_out.append(Reject.of(one, Fault("held_out_character", detail)))
        else:
            by_set[one.set].append(one)
    for later, earlier in (("dev", "test"), (_TRAINING, "dev"), (_TRAINING, "test")):
        by_set[later], near = _apart(by_set[later], by_set[earlier])
        left_out += near
    training = by_set.pop(_TRAINING)
    given = first_minutes(training, labelled_minutes)
    by_set["labelled"] = [replace(one, set="labelled") for one in training if one.id in given]
    by_set["untranscribed"] = [
        replace(one, set="untranscribed", text=None, reference=one.text)
        for one in training
        if one.id not in given
    ]
    return Listing([one for name in _SETS for one in by_set[name]], left_out=left_out)


def _apart(
    utterances: list[Utterance], held: list[Utterance]
) -> tuple[list[Utterance], list[Reject]]:
    """The utterances whose text is not, to NEAR, that of one in `held`; and the others as rejects."""
    if not utterances or not held:
        return utterances, []
    kept, rejects = [], []
    distances_TH = cdist(
        [one.text for one in utterances],
        [one.text for one in held],
        scorer=Levenshtein.normalized_distance,
        score_cutoff=NEAR,
    )
    for one, nearest in zip(utterances, np.argmin(distances_TH, axis=1), strict=True):
        twin = held[nearest]
        if Levenshtein.normalized_distance(one.text or "", twin.text or "") > NEAR:
            kept.append(one)
            continue
        detail = f"as {twin.id} in {twin.set}: {twin.text}"
        rejects.append(Reject.of(one, Fault(f"text_in_{twin.set}", detail)))
    return kept, rejects


def _utterance(segment: Segment, folder: Path) -> Utterance:
    path = folder / f"{segment.name}.mp3"
    if not segment.texts:
        who = segment.character
        return Utterance(segment.name, path, _NO_REFERENCE, speaker=who, language="English")
    written = written_text(segment.texts[0])
    text = letters_text(written)
    return Utterance(
        id=segment.name,
        path=path,
        set=split_set(segment.character, text),
        text=text,
        written=written,
        speaker=segment.character,
        language="English",
    )


def split_set(character: str | None, text: str) -> str:
    """test, dev or training: by who speaks, and for the main character by a hash of the text."""
    if character == JOE:
        place = position(text)
        if place < JOES_TEST_SHARE:
            return "test"
        return "dev" if place < JOES_TEST_SHARE + JOES_DEV_SHARE else "training"
    if character in TEST_CHARACTERS:
        return "test"
    return "dev" if character in DEV_CHARACTERS else "training"


def _container_in(source: Path) -> Path:
    """queen.1c itself, or the one below a folder."""
    if source.is_file():
        return source
    found = sorted(source.rglob(_FILE))
    if not found:
        raise UserError(
            f"{source}: holds no {_FILE}", "name the .deb, a folder unpacked from it, or the file"
        )
    return found[0]


def _checked_mark(path: Path) -> str:
    """The first digits of the file's SHA-256. Raises UserError where it is another file than SHA256's."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(
            f"{path}: is not the {_FILE} that the recipe was written for (SHA-256 {found}, expected {SHA256})",
            "give Debian's flight-of-the-amazon-queen 1.0.0-9 with --source",
        )
    return found[:8]
