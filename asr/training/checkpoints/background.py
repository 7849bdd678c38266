"""Work beside the training: one piece after the other, whose faults are raised where somebody asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress


class Background:
    """A thread, from when there is something to do."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: deque[Future[None]] = deque()
        self._has_failed = False

    def begin(self, work: Callable[[], None]) -> None:
        """Do it after what was begun before, unless that fails: it may stand on it."""
        self._pending.append(self._thread.submit(self._do, work))

    def _do(self, work: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            work()
        except BaseException:
            self._has_failed = True
            raise

    def check(self) -> None:
        """Raise what went wrong with what is done, once."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def wait(self) -> None:
        """Until all is done. Raises what went wrong with it, once."""
        while self._pending:
            self._pending.popleft().result()

    def close(self) -> None:
        """Until all is done. A fault is no news any more."""
        while self._pending:
            with suppress(Exception):
                self.wait()
        self._thread.shutdown()
