"""A process that brings utterances into the cache, many at a time, before they are due.

It is fed through pipes, so the training's own process never has what a store's library has, which would not
survive the fork of the loader's workers, and does not wait for Python's lock. It ends with its parent, at the
end of its input.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias

from asr.config.store import StoreConfig
from asr.data.store.bringing import Part, bring, cache_of
from asr.errors import StoreAwayError, UserError
from asr.utils.processes import import_path, python

_MOST_STARTS = 10
"""One that cannot live is not started for ever; audio is then brought by whoever reads it."""


Arrival: TypeAlias = "Future[StoreAwayError | None]"
"""Of an utterance: why the store has not given it; None where it is in the cache, or lost, which whoever reads
it will find."""


class Fetcher:
    """Asks such a process. One that has died is started anew, and what it was asked for is not brought."""

    def __init__(self, config: StoreConfig) -> None:
        """Raises UserError where the cache cannot be written."""
        cache_of(config)
        self._config = config
        self._link: _Link | None = None
        self._starts = self._refetched = 0

    def ask(self, parts: Sequence[Part]) -> list[Arrival]:
        """Have parts brought, in this order."""
        if self._link is None or (self._link.is_gone and self._starts < _MOST_STARTS):
            self._refetched += self._link.refetched if self._link else 0
            self._link, self._starts = _Link(self._config), self._starts + 1
        return [self._link.ask(part) for part in parts]

    @property
    def refetched(self) -> int:
        """Requests that had to be made again, so far."""
        return self._refetched + (self._link.refetched if self._link else 0)

    def close(self) -> None:
        """End the process."""
        if self._link is not None and self._link.of == os.getpid():  # and not in a child
            self._link.process.kill()
        self._link = None

    def __del__(self) -> None:
        self.close()


_fetchers: dict[tuple[int, StoreConfig], Fetcher] = {}


def fetcher_of(config: StoreConfig) -> Fetcher:
    """This process's. Raises UserError as Fetcher does."""
    key = os.getpid(), config
    if key not in _fetchers:
        _fetchers[key] = Fetcher(config)
    return _fetchers[key]


def bring_all(parts: Iterable[Part | None], config: StoreConfig) -> None:
    """At once, those that there are. Raises StoreAwayError."""
    wanted = [part for part in parts if part is not None]
    for away in [arrival.result() for arrival in fetcher_of(config).ask(wanted)]:
        if away is not None:
            raise away


class _Link:
    """With one process."""

    def __init__(self, config: StoreConfig) -> None:
        self.process = subprocess.Popen(
            [*python(), "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": import_path()},
            start_new_session=True,  # Ctrl-C is for the parent
        )
        self.of = os.getpid()
        self.is_gone = False
        self.refetched = 0
        self._asked: dict[Part, Arrival] = {}
        """That has not come yet; one that is wanted twice is asked for once."""
        self._lock = threading.Lock()
        self._write(config.model_dump_json())
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, part: Part) -> Arrival:
        with self._lock:
            if part in self._asked:
                return self._asked[part]
            arrival: Arrival = Future()
            if self.is_gone:
                arrival.set_result(None)
            else:
                self._asked[part] = arrival
                self._write(json.dumps(part))
        return arrival

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # it is gone, which is noticed at the end of what it says
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):  # its last one, cut short
                part, refetched, fault = json.loads(line)
                self.refetched += refetched
                with self._lock:
                    arrival = self._asked.pop(Part(*part))
                arrival.set_result(StoreAwayError(*fault) if fault else None)
        self.process.wait()
        with self._lock:
            self.is_gone = True
            for arrival in self._asked.values():
                arrival.set_result(None)
            self._asked.clear()


def serve() -> None:
    """Be the process: parts come as lines of JSON, and so does how it went."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # without a word when the parent is gone
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a job's: the parent finishes its update first
    logging.disable(logging.CRITICAL)  # what is wrong is said by the parent
    warnings.simplefilter("ignore")
    config = StoreConfig.model_validate_json(sys.stdin.buffer.readline())
    lock = threading.Lock()

    def one(line: bytes) -> None:
        answer = _answer(Part(*json.loads(line)), config)
        with lock:
            sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
            sys.stdout.buffer.flush()

    with ThreadPoolExecutor(config.connections) as threads:
        for line in sys.stdin.buffer:
            threads.submit(one, line)
        os._exit(0)  # what is still asked for, nobody waits for


def _answer(part: Part, config: StoreConfig) -> list[Any]:
    try:
        return [part, bring(part, config).refetched, None]
    except UserError as error:
        return [part, 0, [error.what, error.remedy]]
    except OSError:  # lost: whoever reads it says so
        return [part, 0, None]
    except Exception as error:  # a bug, which must not let the parent wait
        return [part, 0, [f"{part.address}: {type(error).__name__}: {error}", "report it"]]
