"""Signals that end a process: a command's, a training's, and those that its workers leave to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; a launcher, a batch system or a service manager; a terminal that is gone."""
_PR_SET_PDEATHSIG = 1


class Interrupted(KeyboardInterrupt):
    """One of these signals, where it is not noted for later."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def raise_when_signalled() -> None:
    """From here on each of these signals raises `Interrupted`; what is ignored (nohup) stays so."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def ignore_signals() -> None:
    """All is done: what comes now (a launcher sends more than one) must not spoil the exit status."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def forget_children() -> None:
    """A child's end raises nothing more: torch's handler would, in the middle of saying what went wrong."""
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


class StopRequest:
    """A signal to stop that is only noted, for a loop that looks at it when it can."""

    def __init__(self) -> None:
        self.number = 0
        """Of the signal; 0 while there is none."""

    @contextmanager
    def heard(self, says: bool) -> Iterator[None]:
        """While the block runs; `says` on the standard error that it was heard."""

        def note(number: int, frame: FrameType | None) -> None:
            if says and not self.number:
                # Not through Python's stream, which may be in the middle of a write.
                with suppress(OSError):
                    os.write(2, f"\n{signal.Signals(number).name}: {_SAVING}\n".encode())
            self.number = number

        before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows it there alone
            for number in ENDING:
                # A shell lets what it runs in the background ignore Ctrl-C, but that is no nohup.
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def is_heard_by_all(self, processes: int) -> bool:
        """Of several, each hears of it with the next update: to ask at once would be to wait for the step."""
        return processes == 1 and self.number > 0

    def __str__(self) -> str:
        return signal.Signals(self.number).name if self.number else "a signal to another rank"


_SAVING = "saving after this update, then stopping"


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Receive a signal when the parent ends, were it by SIGKILL. Linux alone can do so; else nothing.

    For a child's beginning: a worker would wait for work for ever, a run of an audit go on by itself.
    """
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


def begin_worker(_: int = 0) -> None:
    """In a worker process: it ends with its parent, and by its parent's word alone.

    A signal to all processes of a job would else end the workers first, and their parent would have no data to
    finish its update with. Linux alone can say what is needed; elsewhere the worker stays as it is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    parent = os.getppid()
    end_with_parent()
    if os.getppid() != parent:  # gone before we asked
        os._exit(0)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_parent_s_word, args=(parent,), daemon=True).start()


def _await_parent_s_word(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
