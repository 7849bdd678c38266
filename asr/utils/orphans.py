"""Processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Receive a signal when the parent ends, were it by SIGKILL. Linux alone can do so; else nothing.

    For a child's beginning: a worker would wait for work for ever, a run of an audit go on by itself.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
