"""An append-only file of JSON objects that a resume cuts back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from asr.tracking.metric_logger import MetricLogger, RunInfo
from asr.utils.files import naming, replacing_text


class JsonLines:
    """An append-only file of JSON objects, cut back to a global batch on resume."""

    def __init__(self, path: Path, batches: int, evaluates_again: bool = False) -> None:
        """Open for appending after dropping lines of later batches, and any broken last line.

        And with `evaluates_again` the last batch's evaluation, which may have been interrupted.
        """
        with replacing_text(path) as kept:
            kept.writelines(_lines_until(path, batches, evaluates_again))
        self.path = path
        self._stream = path.open("a", encoding="utf-8")

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


def _lines_until(path: Path, batches: int, evaluates_again: bool) -> Iterable[str]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                record = json.loads(line)
                if not line.endswith("\n") or batch_of(record) > batches:
                    return
                if evaluates_again and batch_of(record) == batches and "set" in record:
                    return
            except (ValueError, KeyError, TypeError):
                return
            yield line


class JsonLinesLogger(MetricLogger):
    """RUN/metrics.jsonl: a line a record, which the report and other commands read back."""

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self._lines = JsonLines(run.folder / "metrics.jsonl", run.batches, run.evaluates_again)

    def log(self, record: Mapping[str, Any], prefix: str) -> None:
        self._lines.write(record)

    def flush_to_disk(self) -> None:
        self._lines.flush_to_disk()

    def close(self) -> None:
        self._lines.close()
