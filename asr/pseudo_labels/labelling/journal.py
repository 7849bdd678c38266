"""What has been labelled so far, on the disk: a file a process, a line a micro-batch.

OUTPUT/journal/stamp.json        what the labels depend on
               rank-KKKKK.jsonl  {"batch": number, "labels": [...]}

A line is on the disk before the next micro-batch is begun. A process that is killed while it writes leaves
half a line, which nobody reads and its successor cuts off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from asr.errors import UserError
from asr.utils.files import naming, read_json, write_json
from asr.utils.locks import locked

_FOLDER, _STAMP = "journal", "stamp.json"


@dataclass(frozen=True)
class Journal:
    """Of one output folder, by all processes that write to it."""

    output: Path

    @property
    def folder(self) -> Path:
        return self.output / _FOLDER

    def begin(self, stamp: Mapping[str, Any]) -> None:
        """Note what the labels depend on. Raises UserError where those that are there depend on another."""
        self.folder.mkdir(parents=True, exist_ok=True)
        now = json.loads(json.dumps(stamp))
        with self.locked():
            path = self.folder / _STAMP
            if not path.is_file():
                write_json(path, now)
                return
            before = read_json(path)
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if changed:
            raise UserError(
                f"{self.output}: holds labels that were made otherwise ({', '.join(changed)})",
                "name another --output, or delete it",
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While what is of all processes is written."""
        with locked(self.folder, where_possible=True):
            yield

    def done(self) -> dict[int, list[Any]]:
        """The labels of each micro-batch that is done, by its number; where some of its audio could not be read
        and it was done again, those that are most. Raises UserError for a damaged file.
        """
        found: dict[int, list[Any]] = {}
        for path in sorted(self.folder.glob("rank-*.jsonl")):
            whole, _, _ = path.read_bytes().rpartition(b"\n")
            for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
                try:
                    record = json.loads(line)
                    before, labels = found.get(record["batch"], []), list(record["labels"])
                    found[record["batch"]] = max(before, labels, key=len)
                except (ValueError, KeyError, TypeError):
                    raise UserError(
                        f"{path}, line {number}: damaged", "delete the file, and label anew"
                    ) from None
        return found

    @contextmanager
    def writer(self, rank: int) -> Iterator[BinaryIO]:
        """The end of this process's file. Raises UserError where another process holds it."""
        path = self.folder / f"rank-{rank:05d}.jsonl"
        busy = UserError(
            f"{path}: another process is writing it", "wait for it, or name another --output"
        )
        with naming(path), locked(path, busy, where_possible=True), path.open("r+b") as stream:
            whole, newline, _ = stream.read().rpartition(b"\n")
            stream.truncate(len(whole + newline))
            stream.seek(0, os.SEEK_END)
            yield stream

    @staticmethod
    def note(stream: BinaryIO, batch: int, labels: list[Any]) -> None:
        """A micro-batch is done."""
        line = json.dumps({"batch": batch, "labels": labels}, ensure_ascii=False)
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
