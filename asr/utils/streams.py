"""The program's standard streams: in UTF-8, and whoever reads them may go away.

A command whose work is on the disk says so (`work_is_on_disk`) and goes on when nobody hears it any more.
Another one ends with its first line that nobody takes.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from asr.errors import UserError

STDOUT = "standard output"
_ERRORS = "asr-shown"


def open_streams() -> None:
    """Take over the process's standard streams, closed ones too. For the program, not the library."""
    codecs.register_error(_ERRORS, _shown)
    # A closed stream's number would be given to the next file, into which a library's messages then go.
    closed = [number for number in (0, 1, 2) if not _is_open(number)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = _Stream.over(sys.stdout, 1, is_closed=1 in closed)
    sys.stderr = _Stream.over(sys.stderr, 2, is_closed=2 in closed)
    sys.stderr.is_dispensable = True
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (as long as the process)


def work_is_on_disk() -> None:
    """From here on nothing is lost with the standard output: what it no longer takes is dropped."""
    if isinstance(sys.stdout, _Stream):
        sys.stdout.is_dispensable = True


def drop_output() -> None:
    """Nobody reads the standard output: what waits to be written goes nowhere."""
    with suppress(OSError, ValueError):
        _to_nowhere(sys.stdout.fileno())


class _Stream(io.TextIOWrapper):
    """A standard stream that may be lost."""

    is_dispensable = False
    is_closed = False

    @classmethod
    def over(cls, stream: TextIO | None, number: int, is_closed: bool) -> _Stream:
        """In place of Python's own, None where that was closed at the start."""
        if stream is not None:
            with suppress(OSError):
                stream.flush()
        line_buffering = number == 2 or (stream is not None and stream.isatty())
        raw = io.FileIO(number, "wb", closefd=False)
        new = cls(
            io.BufferedWriter(raw), encoding="utf-8", errors=_ERRORS, line_buffering=line_buffering
        )
        new.is_closed = is_closed
        return new

    def write(self, text: str) -> int:
        if self.is_closed and not self.is_dispensable:
            raise UserError(f"{STDOUT} is closed", "send it to a file, or to /dev/null")
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if not self.is_dispensable:
            error.filename = STDOUT
            raise error
        _to_nowhere(self.fileno())
        if self is sys.stdout and error.errno != errno.EPIPE:
            sys.stderr.write(f"asr: {STDOUT}: {error.strerror}; going on without it\n")


def readable(name: str) -> str:
    r"""A file's name as a text that any file takes: bytes that are not UTF-8 as \xE9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a name that is not UTF-8 as they are, and what stands for no letter as its number."""
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    try:
        return part.encode("utf-8", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return part.encode("ascii", "backslashreplace"), error.end


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
