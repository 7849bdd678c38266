"""What has been done so far, on the disk: a file a process, a line a micro-batch.

FOLDER/stamp.json        what the work depends on
       rank-KKKKK.jsonl  {"batch": number, "labels": [...]}, or what else it is that is made; null instead of
                         it where the batch is to be tried again, since some of its audio could not be read

A line is on the disk before the next micro-batch is begun. A process that is killed while it writes leaves
half a line, which nobody reads and its successor cuts off.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from asr.errors import UserError
from asr.utils.files import json_line, naming, read_json, write_json
from asr.utils.locks import is_held, locked
from asr.utils.text_files import refuse_own_pipe

_STAMP = "stamp.json"


class Line(NamedTuple):
    """Where a micro-batch's line is."""

    path: Path
    offset: int
    utterances: int
    """In it: those whose audio could be read."""
    done: int = 0
    """How often the batch was made, less how often somebody wanted it tried again."""

    @property
    def is_open(self) -> bool:
        """Whether it is to be tried again, and has not been."""
        return self.done <= 0


@dataclass(frozen=True)
class Journal:
    """Of one work, by all processes that share it."""

    folder: Path
    what: str
    """What is made of an utterance, in the plural: the name of the lines' field."""

    def begin(self, stamp: Mapping[str, Any], starts_anew: bool = False) -> None:
        """Note what the work depends on.

        Where what is there depends on another, raises UserError, or `starts_anew`: then that is deleted, unless
        another process is still at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        now = json.loads(json.dumps(stamp))
        with self.locked():
            path = self.folder / _STAMP
            try:
                before = read_json(path) if path.is_file() else {}
            except ValueError:
                before = {"stamp": "damaged"}
            changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            if before and changed and not starts_anew:
                raise UserError(
                    f"{self.folder.parent}: holds {self.what} that were made otherwise ({', '.join(changed)})",
                    "name another --output, or delete it",
                )
            if changed:
                if starts_anew:
                    self._clear()
                write_json(path, now)

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != _STAMP and is_held(path):
                raise _busy(path)
            path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While what is of all processes is written."""
        with locked(self.folder, where_possible=True):
            yield

    def noted(self) -> dict[int, Line]:
        """The line of each micro-batch that has one, by its number; where some of its audio could not be read
        and it was done again, that of most. Raises UserError for a damaged file.
        """
        found: dict[int, Line] = {}
        done = Counter[int]()
        for path in sorted(self.folder.glob("rank-*.jsonl")):
            offset = 0
            refuse_own_pipe(path)
            with path.open("rb") as stream:
                for number, line in enumerate(stream, start=1):
                    if not line.endswith(b"\n"):
                        break
                    try:
                        record = json.loads(line)
                        batch, made = record["batch"], record[self.what]
                        here = Line(path, offset, -1 if made is None else len(made))
                        done[batch] += -1 if made is None else 1
                    except (ValueError, KeyError, TypeError):
                        raise UserError(
                            f"{path}, line {number}: damaged",
                            "delete the file, and run the same command: it makes anew what was in it",
                        ) from None
                    found[batch] = max(
                        found.get(batch, here), here, key=lambda line: line.utterances
                    )
                    offset += len(line)
        return {batch: line._replace(done=done[batch]) for batch, line in found.items()}

    def done(self) -> dict[int, Line]:
        """Those of them that need not be tried again. Raises as `noted`."""
        return {batch: line for batch, line in self.noted().items() if not line.is_open}

    def reopen(self, rank: int, batches: Mapping[int, Sized]) -> dict[int, int]:
        """Of these micro-batches those that are not made, or not whole: how much of each is; -1 for nothing.

        Those that are not whole are done once they have been tried again. Within `locked`. Raises as `noted`.
        """
        noted = self.noted()
        known = {n: noted[n].utterances if n in noted else -1 for n in batches}
        lacking = {n: count for n, count in known.items() if count < len(batches[n])}
        if closed := [n for n in lacking if n in noted and not noted[n].is_open]:
            with self.writer(rank) as stream:
                for batch in closed:
                    for _ in range(
                        noted[batch].done
                    ):  # an older version wrote it once more instead
                        self.note(stream, batch, None)
        return lacking

    def read(self, line: Line) -> list[Any]:
        """What is in a line."""
        with line.path.open("rb") as stream:
            stream.seek(line.offset)
            made: list[Any] = json.loads(stream.readline())[self.what]
            return made

    @contextmanager
    def writer(self, rank: int) -> Iterator[BinaryIO]:
        """The end of this process's file. Raises UserError where another process holds it."""
        path = self.folder / f"rank-{rank:05d}.jsonl"
        with naming(path), locked(path, _busy(path), where_possible=True), path.open("r+b") as file:
            whole, newline, _ = file.read().rpartition(b"\n")
            file.truncate(len(whole + newline))
            file.seek(0, os.SEEK_END)
            yield file

    def note(self, stream: BinaryIO, batch: int, made: list[Any] | None) -> None:
        """A micro-batch is done; where it was tried again, of what more was made then."""
        stream.write(json_line({"batch": batch, self.what: made}).encode())
        stream.flush()
        os.fsync(stream.fileno())


def _busy(path: Path) -> UserError:
    return UserError(
        f"{path}: another process is writing it", "wait for it, or name another --output"
    )
