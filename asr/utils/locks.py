"""One process at a time: locks on files and folders, which end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from asr.errors import UserError

LOCK = ".lock"
"""File in a folder that one process has to itself, a run's or an audit's: it says who."""
_held: set[int] = set()
"""Descriptors of this process's locks."""


def _let_go() -> None:
    """A child that is forked, e.g. a loader's worker, would hold its parent's locks after its end."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(
    path: Path, busy: Exception | None = None, where_possible: bool = False, signed: bool = False
) -> Iterator[None]:
    """Hold `path`: a folder that is there, or a file, which is made if need be.

    Waits for it, or with `busy` raises that at once where another process holds it; a UserError then says
    which. On a file system without locks raises OSError, or with `where_possible` goes on: then it is for
    the user to take care. `signed`: the file, which is for nothing else, says who holds it to other hosts.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError:
        os.close(descriptor)
        assert busy is not None
        who = holder(path) if isinstance(busy, UserError) else None
        if who is not None and isinstance(busy, UserError):
            raise UserError(f"{busy.what} ({who})", busy.remedy) from None
        raise busy from None
    except OSError:
        if not where_possible:
            os.close(descriptor)
            raise
    _held.add(descriptor)
    try:
        if signed:
            _sign(descriptor)
        yield
    finally:
        if descriptor in _held:  # not in a child
            _held.remove(descriptor)
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether another process holds it now."""
    try:
        with locked(path, BlockingIOError()):
            return False
    except BlockingIOError:
        return True
    except OSError:  # not there, or no locks here
        return False


def holder(path: Path) -> str | None:
    """Who holds a lock, in words: process, host, since when; None where that cannot be known."""
    try:
        status = path.stat()
    except OSError:
        return None
    for pid in _pids_with_locks(status.st_ino):
        if _has_open(pid, status):
            import psutil

            try:
                began = psutil.Process(pid).create_time()
            except psutil.Error:
                continue
            return f"pid {pid} on {os.uname().nodename}, since {_moment(began)}"
    try:
        note = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return None
    return note if note.startswith("pid ") and len(note) < 300 else None


def _sign(descriptor: int) -> None:
    note = f"pid {os.getpid()} on {os.uname().nodename}, since {_moment(time.time())}\n"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, note.encode(), 0)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _pids_with_locks(inode: int) -> list[int]:
    """Of this machine's processes, by what the kernel says (Linux)."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines]
    return [
        int(one[4]) for one in fields if len(one) > 5 and one[5].rpartition(":")[2] == str(inode)
    ]


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    """Another file system may have a file of the same number."""
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.path.samestat(link.stat(), wanted):
                    return True
            except OSError:
                continue
    except OSError:
        return False
    return False
