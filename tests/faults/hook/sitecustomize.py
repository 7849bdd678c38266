"""Ends the process that loads it, by SIGKILL, just before a chosen change of a file.

Python imports a module of this name by itself. With ASR_FAULT_FOLDER set, each change of what is in that folder
counts: a file opened to be written, a rename, an fsync, a removal, a new folder, a truncation, a link. In the
process whose RANK is ASR_FAULT_RANK (empty: without ranks), number ASR_FAULT_EVENT is its last. ASR_FAULT_LOG
gets a line an event: its number, kind and path.

What libraries in C++ and Rust write by themselves (safetensors, Parquet) is not seen; the fsync and the rename
that follow it are.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR
_PATHS = {
    "os.rename": (0, 2),
    "os.link": (1, 3),
    "os.symlink": (1, 2),
    "os.remove": (0, 1),
    "os.rmdir": (0, 1),
    "os.mkdir": (0, 2),
    "os.truncate": (0, None),
}
"""Of an audit event's arguments: where the path stands, and the descriptor that it is relative to."""


class _Counter:
    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        self.last = int(os.environ.get("ASR_FAULT_EVENT", 0))
        self.number = 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self.log = os.open(os.environ["ASR_FAULT_LOG"], flags, 0o600)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int):
                self.count("open", path, -1)
        elif event in _PATHS:
            where, relative = _PATHS[event]
            folder = -1 if relative is None else arguments[relative]
            self.count(event, arguments[where], folder)

    def count(self, kind: str, path: Any, relative_to: int) -> None:
        if isinstance(path, int):
            path, relative_to = _path_of(path), -1
        path = os.fsdecode(path)
        if relative_to is not None and relative_to >= 0:
            path = os.path.join(_path_of(relative_to), path)
        path = os.path.abspath(path)
        if path != self.folder and not path.startswith(self.folder + os.sep):
            return
        name = os.path.relpath(path, self.folder)
        if name.startswith("tensorboard"):  # written by a thread, at moments of its own
            return
        self.number += 1
        os.write(self.log, f"{self.number}\t{kind}\t{name}\n".encode(errors="replace"))
        if self.number == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return "/"


def _watch() -> None:
    folder = os.environ.get("ASR_FAULT_FOLDER")
    if not folder or os.environ.get("RANK", "") != os.environ.get("ASR_FAULT_RANK", ""):
        return
    counter = _Counter(folder)
    sys.addaudithook(counter.hear)
    # These have no audit event.
    os.fsync = _counted(os.fsync, counter)
    os.fdatasync = _counted(os.fdatasync, counter)


def _counted(call: Callable[[Any], None], counter: _Counter) -> Callable[[Any], None]:
    kind = call.__name__

    def synchronise(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        counter.count(kind, number, -1)
        call(descriptor)

    return synchronise


_watch()
