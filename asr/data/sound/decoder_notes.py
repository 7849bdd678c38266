"""What libmpg123 writes to stderr of an MP3, as one line that names the file: it writes a dozen, and none does.

Nothing else can be told to it: so the process's file descriptor 2 leads into memory while an MP3 is decoded.
What others write meanwhile comes out when that is done.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STDERR = 2
_BEGINNINGS = (b"Note: ", b"Warning: ", b"[src/libmpg123/")
_SHOWN = 3
"""Files that are named, by each process."""


class _Fold:
    """One for all threads of the process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._open: list[str] = []
        """Names of what is being decoded."""
        self._known = set[str]()
        self._stderr = self._held = -1
        self._told = 0
        """Bytes of what is held back that have come out."""

    def enter(self, name: str) -> None:
        with self.lock:
            if not self._open:
                self._held = os.memfd_create("stderr")
                self._stderr, self._told = os.dup(_STDERR), 0
                os.dup2(self._held, _STDERR)
            self._open.append(name)

    def leave(self, name: str) -> None:
        with self.lock:
            is_last = len(self._open) == 1
            if is_last:
                os.dup2(self._stderr, _STDERR)
            written = os.pread(self._held, os.fstat(self._held).st_size - self._told, self._told)
            if not is_last:
                written = written[: written.rfind(b"\n") + 1]  # a line is whole
            self._told += len(written)
            if written:
                os.write(self._stderr, self._folded(written))
            self._open.remove(name)
            if is_last:
                os.close(self._stderr)
                os.close(self._held)

    def _folded(self, written: bytes) -> bytes:
        lines = written.splitlines(keepends=True)
        others = [line for line in lines if not line.startswith(_BEGINNINGS)]
        notes = [line for line in lines if line.startswith(_BEGINNINGS)]
        new = {os.path.abspath(name) for name in self._open} - self._known
        if notes and new:
            self._known |= new
            first = notes[0].decode(errors="replace").strip()
            if len(self._known) <= _SHOWN:
                names = " or ".join(sorted(set(self._open)))
                others.append(f"note: {names}: its MP3 decoder warns ({first})\n".encode())
            elif len(self._known) - len(new) <= _SHOWN:
                others.append(b"note: it warns of more files, which are not named here\n")
        return b"".join(others)


_FOLD = _Fold()


@contextmanager
def folded(source: object) -> Iterator[None]:
    """While `source`, a path, is opened or read; others than those called .mp3 are let alone. On Linux."""
    name = os.fsdecode(source) if isinstance(source, (str, bytes, Path)) else ""
    if not name.lower().endswith(".mp3") or not hasattr(os, "memfd_create"):
        yield
        return
    _FOLD.enter(name)
    try:
        yield
    finally:
        _FOLD.leave(name)
