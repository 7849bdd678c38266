"""What an output folder holds: preparations of one corpus, one a call, whose sets are disjoint.

A call replaces its own sets and no other. While it works, neither its manifests nor its entries in
summary.json are there; the entries of the other sets stay all the time. What is finished is written
to OUT/.partial and renamed one by one; a process stopped between two renames is caught up by the
next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.utils.files import write_json, write_jsonl
from asr.utils.locks import locked

from . import journal, manifests, recordings
from .manifests import Kept, Reject

STAGING = ".partial"
"""Folder in OUT of an unfinished preparation."""
MADE = ".made.json"
"""In OUT: by its fingerprint, what each preparation made, so that what is lost or changed is noticed."""


@dataclass(frozen=True)
class Preparation:
    """What one call left: its options, the sets that are its, and the files that hold them.

    `fingerprint` is of all that went in; it is empty once a later call has replaced some of the
    sets.
    """

    fingerprint: str
    options: dict[str, Any]
    sets: list[str]
    outputs: list[str]

    def without(self, names: Collection[str]) -> Preparation:
        """What is left of it when a later call takes the named sets."""
        if not set(self.sets) & set(names):
            return self
        lost = {file for name in names for file in set_files(name)}
        return replace(
            self,
            fingerprint="",
            sets=[name for name in self.sets if name not in names],
            outputs=[file for file in self.outputs if file not in lost],
        )


@dataclass(frozen=True)
class Contents:
    """What summary.json of `output` says: all preparations, and the counts of each set."""

    output: Path
    corpus: str
    preparations: list[Preparation] = field(default_factory=list)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)

    def find(self, fingerprint: str) -> Preparation | None:
        """The preparation of the same input, if all that it made is there, as it was made."""
        for one in self.preparations:
            if one.fingerprint == fingerprint:
                complete = all((self.output / name).is_file() for name in one.outputs)
                made = _read_object(self.output / MADE).get(fingerprint)
                if complete and made in (None, digest_of_made(self.output, one)):
                    return one
                print(
                    f"{self.output}: some of what was prepared is lost or changed: it is made again"
                )
        return None

    def options_of(self, name: str) -> dict[str, Any] | None:
        """Options of the call that prepared a set; None when there is no such set."""
        return next((one.options for one in self.preparations if name in one.sets), None)

    def without(self, names: Collection[str]) -> Contents:
        """The same less the named sets."""
        rest = [one.without(names) for one in self.preparations]
        sets = {name: counts for name, counts in self.sets.items() if name not in names}
        return replace(self, preparations=[one for one in rest if one.sets], sets=sets)

    def plus(self, preparation: Preparation, counts: dict[str, dict[str, Any]]) -> Contents:
        """The same with one more preparation."""
        preparations = [*self.preparations, preparation]
        return replace(self, preparations=preparations, sets={**self.sets, **counts})

    def save(self, folder: Path) -> None:
        """Write FOLDER/summary.json, or remove it when there is nothing to tell."""
        if not self.preparations:
            (folder / manifests.SUMMARY).unlink(missing_ok=True)
            return
        preparations = [asdict(one) for one in self.preparations]
        tree = {"corpus": self.corpus, "sets": self.sets, "preparations": preparations}
        write_json(folder / manifests.SUMMARY, tree)


@contextmanager
def opened_contents(output: Path, corpus: str) -> Iterator[Contents]:
    """What OUT holds, with OUT to ourselves; a stopped publication is brought to its end first.

    Raises UserError when OUT cannot be made, holds another corpus, or is being written to.
    """
    with folder_to_ourselves(output):
        if (output / STAGING / manifests.SUMMARY).is_file():
            _rename_all(output)
        yield _read(output, corpus)


@contextmanager
def folder_to_ourselves(folder: Path) -> Iterator[None]:
    """A folder, made if need be, for this process alone. Raises UserError when that cannot be."""
    if manifests.encodable(str(folder)) != str(folder):
        raise UserError(
            f"--output {manifests.encodable(str(folder))}: a name that is not UTF-8",
            "name another folder",
        )
    busy = UserError(
        f"{folder}: another preparation is writing there", "wait for it, or give another --output"
    )
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, busy, where_possible=True))
        except OSError as error:
            raise UserError(
                f"cannot create the output folder {folder}: {error.strerror}",
                "give another --output, or fix its permissions",
            ) from None
        yield


def clear(contents: Contents, names: Collection[str]) -> Contents:
    """Remove the manifests, references and summary entries of the named sets, and nothing else."""
    for path in [contents.output / file for name in names for file in set_files(name)]:
        path.unlink(missing_ok=True)
    rest = contents.without(names)
    rest.save(contents.output)
    (contents.output / STAGING).mkdir(exist_ok=True)
    return rest


def write_rejects(output: Path, names: Collection[str], rejects: list[Reject]) -> None:
    """Put the rejects of the named sets into rejects.jsonl; those of other sets stay."""
    path = output / manifests.REJECTS
    others = [one for one in manifests.read_lines(path) if one.get("set") not in names]
    write_jsonl(path, [*others, *map(manifests.reject_record, rejects)])


def publish(
    contents: Contents,
    kept: list[Kept],
    preparation: Preparation,
    counts: dict[str, dict[str, Any]],
) -> Contents:
    """Write the sets to the staging folder, the new summary last, then rename all of it."""
    staging = contents.output / STAGING
    names = list(_write_sets(staging, kept))
    preparation = replace(preparation, outputs=[*names, manifests.REJECTS])
    whole = contents.plus(preparation, counts)
    whole.save(staging)
    _rename_all(contents.output)
    made = _read_object(contents.output / MADE)
    kept_ones = {one.fingerprint for one in whole.preparations}
    made = {fingerprint: digest for fingerprint, digest in made.items() if fingerprint in kept_ones}
    made[preparation.fingerprint] = digest_of_made(contents.output, preparation)
    write_json(contents.output / MADE, made)
    return whole


def digest_of_made(output: Path, preparation: Preparation) -> str:
    """Of manifests and converted audio: names, sizes, times of change."""
    manifest_files = [output / name for name in preparation.outputs if name.endswith(".jsonl.gz")]
    audio = [
        path
        for name in preparation.sets
        for path in (output / recordings.CONVERTED / name).rglob("*.flac")
        if recordings.CONVERTED_NAME.search(path.name)
    ]
    digest = hashlib.sha256()
    for path in [*manifest_files, *sorted(audio)]:
        state = path.stat()
        entry = [str(path.relative_to(output)), state.st_size, state.st_mtime_ns]
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def set_files(name: str) -> tuple[str, str, str]:
    """Manifest, references, and these as people write them, of a set, relative to OUT."""
    return f"{name}.jsonl.gz", f"references/{name}.tsv", f"references/{name}.written.tsv"


def _write_sets(folder: Path, kept: list[Kept]) -> Iterator[str]:
    """Write manifests and references of each set; yields their names relative to `folder`."""
    # A stopped run may have left sets that this one does not have.
    for path in _staged(folder):
        path.unlink()
    for name in dict.fromkeys(item.utterance.set for item in kept):
        mine = [item for item in kept if item.utterance.set == name]
        withheld = [item.utterance for item in mine if item.utterance.reference is not None]
        manifest, references, written = set_files(name)
        forms = {
            references: {one.id: one.reference for one in withheld if one.reference is not None},
            written: {one.id: one.written for one in withheld if one.written is not None},
        }
        for file, texts in forms.items():
            if texts:
                manifests.write_references(folder / file, texts)
                yield file
        manifests.write_cuts(folder / manifest, map(manifests.make_cut, mine))
        yield manifest


def _rename_all(output: Path) -> None:
    """Bring what is staged to its place, the summary last: it says what there is."""
    staging = output / STAGING
    for path in [*_staged(staging), staging / manifests.SUMMARY]:
        target = output / path.relative_to(staging)
        target.parent.mkdir(exist_ok=True)
        os.replace(path, target)
    finished = (_read_summary(output) or {}).get("sets", {})
    journal.forget(staging / journal.JOURNAL, finished)
    if not (staging / journal.JOURNAL).is_file():
        shutil.rmtree(staging)


def _staged(staging: Path) -> list[Path]:
    return [*staging.glob("references/*.tsv"), *staging.glob("*.jsonl.gz")]


def _read(output: Path, corpus: str) -> Contents:
    tree = _read_summary(output) or {}
    if tree.get("corpus", corpus) != corpus:
        raise UserError(
            f"{output} holds a preparation of '{tree['corpus']}'",
            "give another --output, or delete that folder",
        )
    try:
        preparations = [Preparation(**one) for one in tree["preparations"]]
        counts = {name: tree["sets"][name] for one in preparations for name in one.sets}
    except (LookupError, TypeError):  # Of an older version, or damaged: nothing is taken for done.
        return Contents(output, corpus)
    return Contents(output, corpus, preparations, counts)


def _read_summary(folder: Path) -> dict[str, Any] | None:
    return _read_object(folder / manifests.SUMMARY) or None


def _read_object(path: Path) -> dict[str, Any]:
    """Nothing where there is none, or it is damaged."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}
