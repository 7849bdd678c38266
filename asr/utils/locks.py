"""One process at a time: locks on files and folders, which end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(
    path: Path, busy: Exception | None = None, where_possible: bool = False
) -> Iterator[None]:
    """Hold `path`: a folder that is there, or a file, which is made if need be.

    Waits for it, or with `busy` raises that at once where another process holds it. On a file system without
    locks raises OSError, or with `where_possible` goes on: then it is for the user to take care.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError:
        os.close(descriptor)
        assert busy is not None
        raise busy from None
    except OSError:
        if not where_possible:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)
