"""A manifest read from end to end, for its index: unpacked here, parsed by a process for each core.

The processes are fed through pipes, and not by multiprocessing, which would import the caller's script in each
and is refused in workers of a loader. They end with their parent, at the end of their input.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr.data.manifest.rows import Rows, rows_of
from asr.data.manifest.shar import shar_lines
from asr.errors import UserError
from asr.utils.processes import import_path, python

_BLOCK_BYTES = 1 << 21
_PACKED_BYTES = 1 << 17
_ALONE_BYTES = 1 << 26
"""A manifest this large is parsed sooner than processes start."""
_MOST_PROCESSES = 8
_GZIP = 16 + zlib.MAX_WBITS

_Process: TypeAlias = "subprocess.Popen[bytes]"


@dataclass
class Scan:
    """Columns of a manifest in the order of its ids, and what is known of it as a whole."""

    columns: dict[str, NDArray[Any]]
    """starts, lengths, crcs, seconds, keys, has_text: see ManifestIndex."""
    characters: str
    rates: dict[int, str]
    rejects: dict[str, dict[str, Any]]


def scan(manifest: Path, copy: Path) -> Scan:
    """Read a manifest, or a Shar folder; its lines are written to `copy` unless it is plain text itself.

    Raises UserError for one that is unreadable, naming the line, or without utterances.
    """
    rejects: dict[str, dict[str, Any]] = {}
    gathered = _Gathered(manifest)
    is_plain = not manifest.is_dir() and not _is_gzip(manifest)
    if is_plain:
        spans = _spans(_read(manifest))
    else:
        chunks = (
            _joined(shar_lines(manifest, rejects)) if manifest.is_dir() else _unpacked(manifest)
        )
        spans = _spans(_copied(chunks, copy))
    with closing(_parsed(manifest if is_plain else copy, spans)) as parsed:
        for rows in parsed:
            gathered.add(rows)
    if not gathered.count:
        lost = "".join(f"; {name} {reject['reason']}" for name, reject in rejects.items())
        raise UserError(f"{manifest}: holds no utterances{lost}", "run `asr prepare` again")
    return Scan(gathered.ordered(), "".join(sorted(gathered.characters)), gathered.rates, rejects)


class _Gathered:
    """What is found, in the order of the manifest."""

    def __init__(self, manifest: Path) -> None:
        self.count = 0
        self.characters: set[str] = set()
        self.rates: dict[int, str] = {}
        self._manifest = manifest
        self._columns: dict[str, list[NDArray[Any]]] = {}
        # Of numpy's own strings: ten million ids as objects would take a gigabyte and more.
        self._ids: list[NDArray[Any]] = []

    def add(self, rows: Rows) -> None:
        """Raises UserError for a line that is no utterance."""
        if rows.fault is not None:
            number, reason, remedy = rows.fault
            raise UserError(
                f"{self._manifest}: not a readable manifest (line {self.count + number}: {reason})",
                remedy,
            )
        if rows.has_tars and not self._manifest.is_dir():
            raise UserError(
                f"{self._manifest}: its recordings lie in tars, and it is no folder of shards",
                "name the folder SET.shar",
            )
        self.count += len(rows.ids)
        self.characters.update(rows.characters)
        for rate, name in rows.rates.items():
            self.rates.setdefault(rate, name)
        self._ids.append(np.array(rows.ids, np.dtypes.StringDType()))
        for column, values in rows.columns.items():
            self._columns.setdefault(column, []).append(values)

    def ordered(self) -> dict[str, NDArray[Any]]:
        """The columns, in the order of the ids; they are given away."""
        # numpy compares the bytes of UTF-8: the order of code points, which is Python's.
        order = np.argsort(np.concatenate(self._ids), kind="stable")
        self._ids.clear()
        names = list(self._columns)
        return {name: np.concatenate(self._columns.pop(name))[order] for name in names}


def _parsed(path: Path, spans: Iterator[tuple[int, int]]) -> Generator[Rows, None, None]:
    """Rows of each (begin, end) of a file in bytes, in order. To be closed: it may have processes."""
    for begin, end in spans:
        yield _rows_at(path, begin, end)
        if end > _ALONE_BYTES:
            break
    else:
        return
    processes = _started(path)
    if not processes:
        yield from (_rows_at(path, begin, end) for begin, end in spans)
        return
    idle: SimpleQueue[_Process] = SimpleQueue()
    for process in processes:
        idle.put(process)
    threads = ThreadPoolExecutor(len(processes))
    try:
        asked: deque[Future[Rows]] = deque()
        for begin, end in spans:
            asked.append(threads.submit(_ask, idle, path, begin, end))
            while asked and asked[0].done():
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()
    finally:
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in processes:
            process.communicate()


def _started(path: Path) -> list[_Process]:
    """A process for each core; none on a single one, or where none may be started."""
    cores = len(os.sched_getaffinity(0))
    processes = []
    with suppress(OSError):
        for _ in range(min(cores, _MOST_PROCESSES) if cores > 1 else 0):
            process = subprocess.Popen(
                [*python(), "-c", f"from {__name__} import serve; serve()", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": import_path()},
                start_new_session=True,  # Ctrl-C is for the parent
            )
            processes.append(process)
    return processes


def _ask(idle: SimpleQueue[_Process], path: Path, begin: int, end: int) -> Rows:
    process = idle.get()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{begin} {end}\n".encode())
        process.stdin.flush()
        rows: Rows = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError):
        # It was killed, as a rule for want of memory, or has not come up: this process is still there.
        rows = _rows_at(path, begin, end)
    finally:
        idle.put(process)
    return rows


def serve() -> None:
    """Be one of the processes: spans come as lines, their rows go as pickles."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # without a word when the parent is gone
    path, answers = Path(sys.argv[1]), sys.stdout.buffer
    for line in sys.stdin.buffer:
        begin, end = map(int, line.split())
        pickle.dump(_rows_at(path, begin, end), answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _rows_at(path: Path, begin: int, end: int) -> Rows:
    with path.open("rb", buffering=0) as file:
        return rows_of(begin, os.pread(file.fileno(), end - begin, begin))


def _spans(chunks: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """(begin, end) of whole lines in the sum of the chunks, which somebody else keeps."""
    begin = position = 0
    for chunk in chunks:
        ended = chunk.rfind(b"\n") + 1
        if ended:
            yield begin, position + ended
            begin = position + ended
        position += len(chunk)
    if position > begin:
        yield begin, position


def _copied(chunks: Iterable[bytes], copy: Path) -> Iterator[bytes]:
    with copy.open("wb") as target:
        for chunk in chunks:
            target.write(chunk)
            target.flush()  # others read it
            yield chunk


def _is_gzip(manifest: Path) -> bool:
    with manifest.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if not is_gzip and manifest.suffix == ".gz":
        raise UserError(
            f"{manifest}: not a readable manifest (not gzip)", "run `asr prepare` again"
        )
    return is_gzip


def _read(manifest: Path) -> Iterator[bytes]:
    with manifest.open("rb") as file:
        while chunk := file.read(_BLOCK_BYTES):
            yield chunk


def _unpacked(manifest: Path) -> Iterator[bytes]:
    """By zlib, a block a call: gzip takes the interpreter's lock for every few KB, and is kept waiting."""
    unpacker, rest = zlib.decompressobj(_GZIP), b""
    try:
        with manifest.open("rb") as file:
            while packed := rest or file.read(_PACKED_BYTES):
                if unpacker.eof:  # files may be joined, and padded with zeros
                    rest = packed.lstrip(b"\0")
                    unpacker = zlib.decompressobj(_GZIP) if rest else unpacker
                    continue
                yield unpacker.decompress(packed, _BLOCK_BYTES)
                rest = unpacker.unconsumed_tail or unpacker.unused_data
        if not unpacker.eof:
            raise EOFError("it ends in the middle")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{manifest}: not a readable manifest ({error})", "run `asr prepare` again"
        ) from None


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    parts, size = [], 0
    for line in lines:
        parts.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)
