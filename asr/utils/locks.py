"""One process at a time: locks on files and folders, which end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, busy: Exception | None = None) -> Iterator[None]:
    """Hold `path`: a folder that is there, or a file, which is made if need be.

    Without `busy`, waits for it, and raises OSError on a file system without locks. With `busy`, raises that
    at once where another process holds it; a file system without locks is then for the user to take care of.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o644)
    try:
        if busy is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        else:
            _take_at_once(descriptor, busy)
        yield
    finally:
        os.close(descriptor)


def _take_at_once(descriptor: int, busy: Exception) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise busy from None
    except OSError:
        return
