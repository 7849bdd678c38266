"""Pipes in the place of files."""

from __future__ import annotations

from pathlib import Path


def refuse_pipe(path: Path) -> None:
    """Raises OSError for a pipe, but for those of <(a command): opening it could wait for ever."""
    if path.is_fifo() and not path.is_relative_to("/dev"):
        raise OSError("a pipe, which could be waited for without an end")
