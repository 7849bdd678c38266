"""What was read of a store, on the local disk: bounded, shared by processes and runs, and never believed.

DIRECTORY/ab/abcdef...  the bytes of an utterance, then their SHA-256

What else lies in DIRECTORY is somebody's own: it does not count, and stays.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from asr.config.store import StoreConfig
from asr.errors import UserError
from asr.utils.locks import locked

_DIGEST_BYTES = 32
_BEGIN_TO_GIVE_UP, _GIVE_UP_TO = 0.9, 0.8
"""Shares of the limit."""
_LOOK_AFTER = 0.01
"""Share of the limit that a process adds before it looks how much there is: ten stay below the limit."""
_LEFT_AFTER_SECONDS = 3600
_PARTIAL = ".partial-"
_OWN_FOLDER, _OWN_FILE = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{64}|\.partial-.*")


class AudioCache:
    """A folder; of one process, and as many others as there are."""

    def __init__(self, config: StoreConfig) -> None:
        """Raises UserError where nothing can be written."""
        self.folder = _folder(config)
        self._most_bytes = config.cache_gigabytes * 1e9
        self._added_bytes = self._most_bytes  # look at first
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise UserError(
                f"{self.folder}: audio of an object store cannot be kept there ({error.strerror})",
                "name another folder (corpus.store.cache_directory), or fix its permissions",
            ) from None

    def get(self, name: str, count: int, sha256: str | None) -> bytes | None:
        """What is kept under a name; None where that is nothing, or not what its index says."""
        path = self._path(name)
        try:
            content = path.read_bytes()
            os.utime(path)  # heard now
        except OSError:
            return None
        content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        whole = len(content) == count and hashlib.sha256(content).digest() == digest
        if whole and sha256 in (None, digest.hex()):
            return content
        path.unlink(missing_ok=True)  # damaged: it is brought again
        return None

    def put(self, name: str, content: bytes) -> None:
        """Keep; where the disk is full, after giving up others, or not at all."""
        path = self._path(name)
        if self._added_bytes >= _LOOK_AFTER * self._most_bytes:
            self._added_bytes = 0.0
            self._give_up()
        try:
            self._write(path, content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                return
            self._give_up(at_least=self._most_bytes / 10)
            with suppress(OSError):
                self._write(path, content)
        self._added_bytes += len(content) + _DIGEST_BYTES

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.write(hashlib.sha256(content).digest())
            os.replace(partial, path)  # another process may do the same: they write the same
        except BaseException:
            with suppress(OSError):
                os.unlink(partial)
            raise

    def _give_up(self, at_least: float = 0.0) -> None:
        """What was not heard for longest, if it is too much in all; one process at a time does it."""
        with suppress(OSError), locked(self.folder / ".lock", BlockingIOError()):
            found = list[tuple[float, int, str]]()
            for folder in os.scandir(self.folder):
                if _OWN_FOLDER.fullmatch(folder.name) and folder.is_dir(follow_symlinks=False):
                    found += _files(folder.path)
            total = sum(size for _, size, _ in found)
            goal = _GIVE_UP_TO * self._most_bytes
            if total <= _BEGIN_TO_GIVE_UP * self._most_bytes:
                goal = total
            goal = min(goal, total - at_least)
            for _, size, path in sorted(found):
                if total <= goal:
                    break
                with suppress(FileNotFoundError):
                    os.unlink(path)
                total -= size


def _files(folder: str) -> list[tuple[float, int, str]]:
    """When each was last heard, its bytes and its path. What a killed process has left is removed."""
    found = []
    for one in os.scandir(folder):
        if not _OWN_FILE.fullmatch(one.name):
            continue
        with suppress(FileNotFoundError):
            state = one.stat(follow_symlinks=False)
            is_left = state.st_mtime < time.time() - _LEFT_AFTER_SECONDS
            if one.name.startswith(_PARTIAL) and is_left:
                os.unlink(one.path)
                continue
            found.append((state.st_mtime, state.st_size, one.path))
    return found


def _folder(config: StoreConfig) -> Path:
    if config.cache_directory is not None:
        return Path(config.cache_directory).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asr" / "audio"
