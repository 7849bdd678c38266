"""A manifest of any size, opened at once: arrays of what planning needs, and lines that are read when wanted.

    DIRECTORY/.index/NAME-*/  starts.npy lengths.npy crcs.npy seconds.npy keys.npy has_text.npy index.json
                              [lines.jsonl]

Made from DIRECTORY/NAME.jsonl.gz, or the Lhotse Shar folder DIRECTORY/NAME.shar, when it is first opened, and
again when that changes; in the order of the ids. The arrays are mapped, not read, so ranks and loader workers
of one machine share them.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.data.manifest.scan import scan
from asr.data.manifest.shar import SHAR_SUFFIX, bring_lists
from asr.errors import UserError
from asr.utils.faults import is_out_of_files
from asr.utils.files import naming, read_json, write_json
from asr.utils.hashes import file_sha256
from asr.utils.locks import locked

MANIFEST_SUFFIX = ".jsonl.gz"
_VERSION = 5
_FOLDER, _LINES = ".index", "lines.jsonl"
_NOT_OURS = {
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP),
    *(errno.ENOSPC, errno.EDQUOT),
    *(errno.EEXIST, errno.ENOTDIR),
}
_ARRAYS = ("starts", "lengths", "crcs", "seconds", "keys", "has_text")


@dataclass
class ManifestIndex:
    """Utterances of one manifest by their place in the order of the ids."""

    manifest: Path
    lines: Path
    """Uncompressed: the manifest itself, or a copy."""
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    """Bytes of each line."""
    crcs: NDArray[np.uint32]
    """CRC-32 of each line."""
    seconds: NDArray[np.float64]
    keys: NDArray[np.uint64]
    """Hashes of the ids."""
    has_text: NDArray[np.bool_]
    characters: str
    """All that occur in its transcripts."""
    rates: dict[int, str]
    """Sample rates, each with the id of an utterance that has it."""
    rejects: dict[str, dict[str, Any]]
    """What a damaged shard has lost: count, first id and reason, by the name of its file."""
    _file: FileIO | None = field(default=None, repr=False)
    """Open from the beginning: a manifest that is replaced meanwhile does not change what is read."""

    def __post_init__(self) -> None:
        self._file = FileIO(self.lines)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self.seconds)

    def record(self, row: int) -> dict[str, Any]:
        """The cut of a row, as JSON has it. Raises UserError where its line is not what was indexed."""
        if self._file is None:
            self._file = FileIO(self.lines)
        # Without a position in the file: processes that are forked share it.
        line = os.pread(self._file.fileno(), int(self.lengths[row]), int(self.starts[row]))
        if zlib.crc32(line) != self.crcs[row]:
            is_copy = self.lines != self.manifest
            raise UserError(
                f"{self.lines}: damaged, or changed since it was opened (utterance {row + 1} of {len(self)})",
                f"delete {self.lines.parent}, which is made again"
                if is_copy
                else "run `asr prepare` again",
            )
        record: dict[str, Any] = json.loads(line)
        return record

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}


def digest(keys: NDArray[np.uint64], seconds: NDArray[np.float64]) -> str:
    """Of utterances in their order: another one if one of them, or its duration, is another."""
    return hashlib.sha256(keys.tobytes() + seconds.tobytes()).hexdigest()


def open_index(manifest: Path) -> ManifestIndex:
    """The index of a manifest, made if there is none of this very file.

    Raises UserError for a manifest that is missing, unreadable or without utterances.
    """
    if manifest.name.endswith(SHAR_SUFFIX + MANIFEST_SUFFIX):  # as a recipe names a set of shards
        manifest = manifest.with_name(manifest.name.removesuffix(MANIFEST_SUFFIX))
    if not manifest.exists():
        raise _no_such_set(manifest)
    if not manifest.is_dir() and not manifest.is_file():  # opening a pipe would wait for ever
        raise UserError(f"{manifest}: is no regular file", "name a manifest that asr prepare wrote")
    bring_lists(manifest)
    states = [
        path.stat() for path in (sorted(manifest.iterdir()) if manifest.is_dir() else [manifest])
    ]
    source = {
        "version": _VERSION,
        "files": len(states),
        "bytes": sum(state.st_size for state in states),
        "modified_ns": max((state.st_mtime_ns for state in states), default=0),
        # An index that came along with a copied corpus is not believed: whoever made it may have written other
        # lines. These two are the file system's own, and not to be had by copying.
        "changed_ns": max((state.st_ctime_ns for state in states), default=0),
        "inodes": sum(state.st_ino for state in states),
    }
    name = f"{_name(manifest)}-{hashlib.sha256(json.dumps(source).encode()).hexdigest()[:12]}"
    last: OSError | None = None
    # A corpus that others own, or a file system without locks, has its indexes in the user's cache.
    for folder in (manifest.parent / _FOLDER, _cache(manifest)):
        found = _load(manifest, folder / name, source)
        if found is not None:
            return found
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f"{name}.lock"):
                found = _load(manifest, folder / name, source)  # another rank may have made it
                if found is None:
                    _build(manifest, folder / name, source)
                    found = _load(manifest, folder / name, source)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            last = error
            continue
        assert found is not None
        return found
    raise UserError(
        f"{manifest}: its index can be written neither beside it nor to {_cache(manifest)} ({last})",
        "fix the permissions, or set XDG_CACHE_HOME",
    )


def _cache(manifest: Path) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = hashlib.sha256(str(manifest.parent.resolve()).encode()).hexdigest()[:16]
    return base / "asr" / "index" / place


def _name(manifest: Path) -> str:
    return manifest.name.removesuffix(".gz").removesuffix(".jsonl")


def _no_such_set(manifest: Path) -> UserError:
    others = sorted(
        path.name.removesuffix(MANIFEST_SUFFIX)
        for path in manifest.parent.glob("*")
        if path.name.endswith((MANIFEST_SUFFIX, SHAR_SUFFIX))
    )
    if not others:
        return UserError(
            f"{manifest}: no such set; {manifest.parent} holds no manifests",
            "fix the path (of a recipe: corpus.directory), or prepare the corpus (asr prepare --help)",
        )
    near = difflib.get_close_matches(_name(manifest), others, n=1)
    return UserError(
        f"{manifest}: no such set; it has {', '.join(others)}",
        (f"did you mean '{near[0]}'? if not, " if near else "")
        + "name one of these, or prepare it (asr prepare --help)",
    )


def _load(manifest: Path, folder: Path, source: dict[str, int]) -> ManifestIndex | None:
    """None where it is of another state of the manifest, or not all there as it was made."""
    try:
        meta = read_json(folder / "index.json")
        if meta.pop("sha256") != _digest_of(meta) or meta["source"] != source:
            return None
        if meta["files"] != _states(folder):
            return None
        if any(file_sha256(folder / f"{name}.npy") != meta["arrays"][name] for name in _ARRAYS):
            return None  # damaged: it is made again
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        return ManifestIndex(
            manifest,
            folder / _LINES if _LINES in meta["files"] else manifest,
            **arrays,
            characters=meta["characters"],
            rates={int(rate): name for rate, name in meta["rates"].items()},
            rejects=meta["rejects"],
        )
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        if is_out_of_files(error):  # it would be made again and again
            raise
        return None


def _digest_of(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _states(folder: Path) -> dict[str, list[int]]:
    """Size and time of change of each file but the description: what is damaged later has another one."""
    states = {path.name: path.stat() for path in sorted(folder.iterdir()) if path.suffix != ".json"}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}


def _build(manifest: Path, folder: Path, source: dict[str, int]) -> None:
    """Write the index beside its place and move it there: nobody sees a part of one."""
    for left in folder.parent.glob(
        f".partial-{folder.name}-*"
    ):  # by one that was killed: we have the lock
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".partial-{folder.name}-", dir=folder.parent))
    try:
        with naming(partial):
            found = scan(manifest, partial / _LINES)
            for name, values in found.columns.items():
                np.save(partial / f"{name}.npy", values)
        whole = {name: getattr(found, name) for name in ("characters", "rates", "rejects")}
        meta = {"source": source, **whole, "files": _states(partial)}
        meta["arrays"] = {name: file_sha256(partial / f"{name}.npy") for name in _ARRAYS}
        meta = json.loads(json.dumps(meta))  # as it is read
        write_json(partial / "index.json", {**meta, "sha256": _digest_of(meta)})
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    stem = folder.name.rpartition("-")[0]
    for old in folder.parent.glob(f"{stem}-*"):  # of the manifest as it was
        if old != folder and old.is_dir() and old.name.rpartition("-")[0] == stem:
            shutil.rmtree(old, ignore_errors=True)
