"""This process and those that it starts: what they may import and open.

Nothing is imported from the working directory, not by this file either.
"""

from __future__ import annotations

import os
import sys

_OPEN_FILES = 65_536
"""Some systems allow a thousand million, over each of which other programs may go in a loop."""


def python() -> list[str]:
    """The interpreter, without the working directory at the head of its path.

    A yaml.py beside a recipe would be run in place of the library.
    """
    return [sys.executable, "-P"]


def import_path() -> str:
    """PYTHONPATH for such a process: this one's path, without the working directory, and without what holds
    another folder of this package's name, such as its tests.

    Where this package itself lies there, a checkout that is not installed, the directory comes last.
    """
    home, here = _home(), os.path.realpath(os.getcwd())
    entries = [
        entry
        for entry in sys.path
        if entry
        and os.path.realpath(entry) != here
        and (os.path.realpath(entry) == home or not os.path.isdir(os.path.join(entry, "asr")))
    ]
    return os.pathsep.join([*entries, *([home] if home == here and not _is_installed() else [])])


def environment() -> dict[str, str]:
    """What a process that runs `-m asr` needs besides this one's environment: nothing if it is installed."""
    return {} if _is_installed() else {"PYTHONPATH": import_path()}


def leave_working_directory() -> None:
    """The working directory goes from the head of the path, where `python -m asr` has put it, to its end.

    At the end it still serves a checkout that is not installed. Processes that Python starts do not get it.
    """
    here = os.path.realpath(os.getcwd())
    if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0] or here) == here:
        sys.path.append(sys.path.pop(0))
    os.environ.setdefault("PYTHONSAFEPATH", "1")


def allow_open_files() -> None:
    """As many as the system's own limit allows, and not the 1,024 or 256 that a shell begins with.

    What loaders' workers read ahead is a file for each tensor, and shards and manifests come on top.
    """
    from contextlib import suppress

    with suppress(ImportError, ValueError, OSError):
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

        soft, hard = getrlimit(RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == RLIM_INFINITY else min(hard, _OPEN_FILES)
        if soft != RLIM_INFINITY and soft < wanted:
            setrlimit(RLIMIT_NOFILE, (wanted, hard))


def _home() -> str:
    return os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


def _is_installed() -> bool:
    from importlib import metadata

    try:
        return bool(metadata.version("asr-ema"))
    except metadata.PackageNotFoundError:
        return False
