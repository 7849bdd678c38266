"""Pipes in the place of files."""

from __future__ import annotations

import re
from pathlib import Path

from asr.errors import UserError

_OF_A_SHELL = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/(self|\d+)/fd/\d+")
"""What <(a command) is called: /dev/fd/N by bash, /proc/self/fd/N by zsh."""


def refuse_pipe(path: Path) -> None:
    """Raises OSError for a pipe, but for those of <(a command): opening it could wait for ever."""
    if path.is_fifo() and not _OF_A_SHELL.fullmatch(str(path)):
        raise OSError("a pipe, which could be waited for without an end")


def refuse_own_pipe(path: Path) -> None:
    """The same of a file of ours that nobody gives by name. Raises UserError."""
    try:
        refuse_pipe(path)
    except OSError as error:
        raise UserError(f"{path}: {error}", "remove it, or restore the file") from None
