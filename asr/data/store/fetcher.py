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
from dataclasses import dataclass
from typing import Any

from asr.config.store import StoreConfig
from asr.data.store.bringing import Part, bring, cache_of
from asr.errors import StoreAwayError, UserError
from asr.utils.processes import import_path, python


@dataclass(frozen=True)
class Fetched:
    """How it went with one utterance: it is in the cache, or lost, which whoever reads it will find."""

    refetched: int = 0
    """Requests that had to be made again."""
    away: StoreAwayError | None = None
    """Why the store has not given it."""


class Fetcher:
    """Asks such a process. One that has died is started anew, and what it was asked for is not brought."""

    def __init__(self, config: StoreConfig) -> None:
        """Raises UserError where the cache cannot be written."""
        cache_of(config)
        self._config = config
        self._link: _Link | None = None

    def ask(self, parts: Sequence[Part]) -> list[Future[Fetched]]:
        """Have parts brought, in this order."""
        if self._link is None or self._link.is_gone:
            self._link = _Link(self._config)
        return [self._link.ask(part) for part in parts]

    def close(self) -> None:
        """End the process."""
        if self._link is not None:
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
    for one in [future.result() for future in fetcher_of(config).ask(wanted)]:
        if one.away is not None:
            raise one.away


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
        self.is_gone = False
        self._asked: list[Future[Fetched]] = []
        self._lock = threading.Lock()
        self._write(config.model_dump_json())
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, part: Part) -> Future[Fetched]:
        future = Future[Fetched]()
        with self._lock:
            if self.is_gone:
                future.set_result(Fetched())
                return future
            self._asked.append(future)
            self._write(json.dumps([len(self._asked) - 1, *part]))
        return future

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # it is gone, which is noticed at the end of what it says
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):  # its last one, cut short
                number, refetched, fault = json.loads(line)
                away = StoreAwayError(*fault) if fault else None
                self._asked[number].set_result(Fetched(refetched, away))
        self.process.wait()
        with self._lock:
            self.is_gone = True
            for future in self._asked:
                if not future.done():
                    future.set_result(Fetched())
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
        answer = _answer(json.loads(line), config)
        with lock:
            sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
            sys.stdout.buffer.flush()

    with ThreadPoolExecutor(config.connections) as threads:
        for line in sys.stdin.buffer:
            threads.submit(one, line)
        os._exit(0)  # what is still asked for, nobody waits for


def _answer(asked: list[Any], config: StoreConfig) -> list[Any]:
    number, *part = asked
    try:
        return [number, bring(Part(*part), config).refetched, None]
    except UserError as error:
        return [number, 0, [error.what, error.remedy]]
    except OSError:  # lost: whoever reads it says so
        return [number, 0, None]
    except Exception as error:  # and of what is none of these
        return [
            number,
            0,
            [f"{part[0]}: {type(error).__name__}: {error}", "see the store's library"],
        ]
