"""The ledger: every label a run has made, and every use of one that was kept, in columns.

EXP/pseudo_labels/labels/FIRST-LAST.SHA.parquet  a row for each label
                  uses/FIRST-LAST.SHA.parquet    a row for each use of a kept label

FIRST and LAST are global batches, as in metrics.jsonl; SHA is the beginning of the content's SHA-256, so that
one rename brings both. A file is written whole, at a checkpoint or when
much has gathered, so that a resumed run drops what came after its checkpoint and makes it again. Until then
each rank holds the rows of its own; the first one puts them into the order of the stream and writes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.pseudo_labels.records import LabelRecord, LabelUseRecord
from asr.utils.files import link_or_copy, replacing
from asr.utils.text_files import refuse_pipe

if TYPE_CHECKING:
    import pyarrow

FOLDER = "pseudo_labels"
_MOST_ROWS_HELD = 200_000
_NAMES = ("labels", "uses")
_OLD_WORDS = {"forgotten": "invalidated"}
"""Reasons that older runs wrote, and their names of today."""
_ORDER = ("order_0", "order_1", "order_2", "order_3")
"""Columns by which the rows of several ranks are sorted; in no file."""
_FILE = re.compile(r"(\d+)-(\d+)(?:\.([0-9a-f]{16}))?\.parquet")
"""Older runs' files have no hash."""


def _schemas() -> dict[str, pyarrow.Schema]:
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    place = [
        ("batch", pa.int64()),
        ("hours", pa.float64()),
        ("utterance", pa.string()),
        ("pass", pa.int32()),
    ]
    return {
        "labels": pa.schema(
            [
                *place,
                ("seconds", pa.float32()),
                ("teacher_age_hours", pa.float64()),
                ("source", words),
                ("text", pa.string()),
                ("tokens", pa.int32()),
                ("tokens_per_second", pa.float32()),
                ("confidence", pa.float32()),
                ("confidence_measure", words),
                ("blank_share", pa.float32()),
                ("entropy", pa.float32()),
                ("no_speech_probability", pa.float32()),
                ("repetition", pa.float32()),
                ("compression_ratio", pa.float32()),
                ("ctc_score", pa.float32()),
                ("token_confidences", pa.list_(pa.float32())),
                ("change", pa.float32()),
                ("word_errors", pa.int32()),
                ("words", pa.int32()),
                ("character_errors", pa.int32()),
                ("characters", pa.int32()),
                ("wer_estimate", pa.float32()),
                ("dropped", words),
            ]
        ),
        "uses": pa.schema(
            [
                *place,
                ("use", pa.int32()),
                ("is_last", pa.bool_()),
                ("age_hours", pa.float64()),
                ("dropped", words),
            ]
        ),
    }


@dataclass
class LabelLedger:
    """Of a run; each rank notes what is its own, and the first rank writes."""

    run: Path
    batches: int
    """Global batches of the run that its files hold, or will: of the checkpoint it goes on from."""
    ranks: Ranks | None = None
    """None of a process that has no peers."""
    _rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"labels": [], "uses": []}
    )
    _order: dict[str, list[tuple[int, int, int, int]]] = field(
        default_factory=lambda: {"labels": [], "uses": []}
    )
    _held: int = 0
    """Rows of all ranks that are in no file yet."""
    _exchanges: int = 0
    _being_written: Future[None] | None = None

    def __post_init__(self) -> None:
        """Drop what a killed run wrote after its checkpoint."""
        import pyarrow  # noqa: F401  if it is not there, now is the time to say so

        if self.ranks is not None and not self.ranks.is_first:
            return
        for path in [path for name in _NAMES for path in _files(self.run, name)]:
            if _span(path)[1] > self.batches:
                path.unlink()

    def note_labels(
        self, batch: int, rows: Sequence[LabelRecord], of_all: int | None = None
    ) -> None:
        """Of this rank, which are now `of_all` ranks'; each rank calls it as often."""
        self._held += len(rows) if of_all is None else of_all
        self._exchanges += 1
        for row in sorted(rows, key=lambda row: (row.place, row.key)):
            label = row.label
            self._order["labels"].append((self._exchanges, row.place, *row.key))
            self._rows["labels"].append(
                {
                    "batch": batch,
                    "hours": label.hours,
                    "utterance": row.utterance,
                    "pass": row.key[0],
                    "seconds": row.seconds,
                    "teacher_age_hours": _known(label.teacher_age_hours),
                    "source": label.source,
                    "text": row.text,
                    "tokens": len(label.tokens),
                    "tokens_per_second": len(label.tokens) / max(1e-9, row.seconds),
                    **{name: _known(value) for name, value in vars(label.metrics).items()},
                    "token_confidences": list(label.confidences) or None,
                    "change": row.change,
                    **(vars(row.errors) if row.errors else {}),
                    "wer_estimate": row.wer_estimate,
                    "dropped": label.dropped and str(label.dropped),
                }
            )

    def note_uses(
        self, batch: int, hours: float, rows: Sequence[LabelUseRecord], of_all: int | None = None
    ) -> None:
        """The same of uses."""
        self._held += len(rows) if of_all is None else of_all
        for row in sorted(rows, key=lambda row: (row.key, row.use)):
            self._order["uses"].append((batch, *row.key, row.use))
            self._rows["uses"].append(
                {
                    "batch": batch,
                    "hours": hours,
                    "utterance": row.utterance,
                    "pass": row.key[0],
                    "use": row.use,
                    "is_last": row.is_last,
                    "age_hours": hours - row.label_hours,
                    "dropped": row.dropped and str(row.dropped),
                }
            )

    def write(self, batch: int, wait: bool = True) -> None:
        """Put what has gathered until `batch` on the disk; where it may wait, little of it not yet.

        And much of it by a thread, for which the next call waits. A collective.
        """
        if wait or self._held >= _MOST_ROWS_HELD:
            self._wait()
        if batch <= self.batches or (not wait and self._held < _MOST_ROWS_HELD):
            return
        parts = {name: self._collected(name) for name in self._rows}
        put = partial(_put, self.run, f"{self.batches + 1:09d}-{batch:09d}", parts)
        self._held, self.batches = 0, batch
        if wait:
            put()
        else:
            thread = ThreadPoolExecutor(1, "ledger")
            self._being_written = thread.submit(put)
            thread.shutdown(wait=False)

    def _wait(self) -> None:
        """Until the thread is done. Raises what it raised."""
        being_written, self._being_written = self._being_written, None
        if being_written is not None:
            being_written.result()

    def _collected(self, name: str) -> list[pyarrow.Table]:
        """On the first rank what all hold, rank by rank; nothing is held thereafter."""
        import pyarrow as pa

        rows, order = self._rows[name], self._order[name]
        own = pa.Table.from_pylist(rows, schema=_schemas()[name])
        for place, column in enumerate(_ORDER):
            own = own.append_column(column, pa.array([one[place] for one in order], pa.int64()))
        rows.clear()
        order.clear()
        if self.ranks is None or self.ranks.world == 1:
            return [own]
        return [pa.ipc.open_stream(part).read_all() for part in self.ranks.collect(_packed(own))]


def _put(run: Path, span: str, parts: Mapping[str, Sequence[pyarrow.Table]]) -> None:
    """Into files, in the order of the stream."""
    import pyarrow as pa
    from pyarrow import parquet

    for name, tables in parts.items():
        if any(map(len, tables)):
            whole = pa.concat_tables(tables).unify_dictionaries()
            if len(tables) > 1:
                whole = whole.sort_by([(column, "ascending") for column in _ORDER])
            made = BytesIO()
            parquet.write_table(whole.drop_columns(list(_ORDER)), made, compression="zstd")
            file = f"{span}.{_short_sha256(made.getbuffer())}.parquet"
            with replacing(run / FOLDER / name / file) as stream:
                stream.write(made.getbuffer())


def _packed(table: pyarrow.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _known(value: Any) -> Any:
    """None for NaN: what nobody knows of a label from outside."""
    return None if value != value else value


def copy_ledger(source: Path, run: Path) -> None:
    """The labels of the run that a new one forks from; opening it drops those after the fork."""
    for name in _NAMES:
        for path in _files(source, name):
            (run / FOLDER / name).mkdir(parents=True, exist_ok=True)
            link_or_copy(path, run / FOLDER / name / path.name)


def read_ledger(run: Path, name: str, without: Collection[str] = ()) -> pyarrow.Table:
    """All `labels` or `uses` of a run, in their order, but for some columns; without rows if there are none.

    Raises UserError for a file that is damaged, and for two that hold the same batches.
    """
    import pyarrow as pa
    from pyarrow import parquet

    nothing = _schemas()[name].empty_table().drop_columns(list(without))
    tables = [nothing]  # its columns come first, and are null where an older run has not noted them
    files = _files(run, name)
    for one, other in pairwise(files):
        if _span(other)[0] <= _span(one)[1]:
            raise UserError(
                f"{other}: has batches that {one.name} has, too",
                "keep the one that the run has written, and move the other elsewhere",
            )
    for path in files:
        try:
            content = pa.BufferReader(_content(path))
            there = set(parquet.read_schema(content).names)
            columns = [column for column in nothing.column_names if column in there]
            tables.append(_in_todays_words(parquet.read_table(content, columns=columns)))
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: not readable ({reason})", "restore it, or delete it"
            ) from None
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries()


def _content(path: Path) -> bytes:
    """Raises OSError where it is not what was written."""
    refuse_pipe(path)
    content = path.read_bytes()
    written = _match(path)[3]
    if written is not None and _short_sha256(content) != written:
        raise OSError("its content has changed since it was written: the SHA-256 differs")
    return content


def _short_sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _in_todays_words(table: pyarrow.Table) -> pyarrow.Table:
    """With the reasons of dropped labels as they are called now."""
    import pyarrow as pa

    place = table.schema.get_field_index("dropped")
    if place < 0:
        return table
    chunks = []
    for chunk in table.column(place).chunks:
        words = [_OLD_WORDS.get(word, word) for word in chunk.dictionary.to_pylist()]
        words_array = pa.array(words, pa.string())
        chunks.append(pa.DictionaryArray.from_arrays(chunk.indices, words_array))
    field = table.schema.field(place)
    return table.set_column(place, field, pa.chunked_array(chunks, field.type))


def _files(run: Path, name: str) -> list[Path]:
    found = [p for p in (run / FOLDER / name).glob("*.parquet") if _FILE.fullmatch(p.name)]
    return sorted(found, key=_span)


def _span(path: Path) -> tuple[int, int]:
    match = _match(path)
    return int(match[1]), int(match[2])


def _match(path: Path) -> re.Match[str]:
    match = _FILE.fullmatch(path.name)
    assert match is not None
    return match
