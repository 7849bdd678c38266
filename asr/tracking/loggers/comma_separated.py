"""Tables for spreadsheets, which say what metrics.jsonl says."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from asr.tracking.metric_logger import MetricLogger, RunInfo
from asr.utils.files import naming, replacing_text

_TABLES = ("train", "evaluations")


class CsvLogger(MetricLogger):
    """RUN/csv/train.csv and evaluations.csv: a row a record; counts by reason are JSON in one cell."""

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self._columns: dict[str, list[str]] = {}
        self._streams: dict[str, TextIO] = {}
        for table in _TABLES:
            self._make_anew(table)

    def _path(self, table: str) -> Path:
        return self.run.folder / "csv" / f"{table}.csv"

    def _make_anew(self, table: str, also: tuple[str, ...] = ()) -> None:
        """Of metrics.jsonl, which has been cut back to where the run goes on."""
        names = dict.fromkeys(name for record in self._records(table) for name in record)
        columns = self._columns[table] = [*names, *(name for name in also if name not in names)]
        if table in self._streams:
            self._streams.pop(table).close()
        with replacing_text(self._path(table)) as text:
            rows = csv.DictWriter(text, columns, lineterminator="\n")
            if columns:
                rows.writeheader()
            rows.writerows(map(_cells, self._records(table)))
        self._streams[table] = self._path(table).open("a", encoding="utf-8", newline="")

    def _records(self, table: str) -> Iterator[dict[str, Any]]:
        with (self.run.folder / "metrics.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if _table_of(record) == table:
                    yield record

    def log(self, record: Mapping[str, Any], prefix: str) -> None:
        table = _table_of(record)
        if record.keys() - set(self._columns[table]):
            self._make_anew(table, tuple(record))  # this record is in metrics.jsonl by now
            return
        stream = self._streams[table]
        with naming(self._path(table)):
            csv.DictWriter(stream, self._columns[table], lineterminator="\n").writerow(
                _cells(record)
            )
            stream.flush()

    def close(self) -> None:
        for stream in self._streams.values():
            with suppress(OSError):
                stream.close()


def _table_of(record: Mapping[str, Any]) -> str:
    return "evaluations" if "set" in record else "train"


def _cells(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
        for name, value in record.items()
    }
