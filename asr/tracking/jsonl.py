"""An append-only file of JSON objects that a resume cuts back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from asr.tracking.metric_logger import MetricLogger, RunInfo
from asr.utils.files import naming, replacing


class JsonLines:
    """An append-only file of JSON objects, cut back to a global batch on resume."""

    def __init__(self, path: Path, batches: int, evaluates_again: bool = False) -> None:
        """Open for appending after dropping lines of later batches, and what a kill left of the last one.

        And with `evaluates_again` the last batch's evaluation, which may have been interrupted.
        """
        self.unreadable = 0
        """Lines elsewhere that are no record: dropped, and only they."""
        self.path = path
        with replacing(path) as kept:
            kept.writelines(self._lines_until(batches, evaluates_again))
        self._stream = path.open("a", encoding="utf-8")

    def _lines_until(self, batches: int, evaluates_again: bool) -> Iterator[bytes]:
        if not self.path.is_file():
            return
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                    batch = batch_of(record)
                    is_made_again = evaluates_again and batch == batches and "set" in record
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    self.unreadable += 1
                    continue
                if batch <= batches and not is_made_again:
                    yield line

    @property
    def fault(self) -> str | None:
        """What to tell of the file as it was, if anything."""
        if not self.unreadable:
            return None
        return f"{self.path}: {self.unreadable} unreadable lines left out; the others are kept"

    def write(self, record: Mapping[str, Any]) -> None:
        with naming(self.path):
            self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._stream.flush()

    def flush_to_disk(self) -> None:
        with naming(self.path):
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        with suppress(OSError):  # of a full disk, which has been said
            self._stream.close()


def batch_of(record: dict[str, Any]) -> int:
    """The global batch of a line, from 1: its step, unless a step was skipped before."""
    return int(record.get("batch", record["step"]))


class JsonLinesLogger(MetricLogger):
    """RUN/metrics.jsonl: a line a record, which the report and other commands read back."""

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self._lines = JsonLines(run.folder / "metrics.jsonl", run.batches, run.evaluates_again)
        self.fault = self._lines.fault

    def log(self, record: Mapping[str, Any], prefix: str) -> None:
        self._lines.write(record)

    def flush_to_disk(self) -> None:
        self._lines.flush_to_disk()

    def close(self) -> None:
        self._lines.close()
