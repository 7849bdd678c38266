"""Files of labels, read and written.

| format | as | a label's confidence |
|---|---|---|
| asr | what `asr decode` writes, .jsonl | `confidence` |
| lhotse | cuts or supervisions, .jsonl[.gz] | `confidence` in `custom` of the supervision |
| nemo | JSON lines: audio_filepath, pred_text or text; named by `id`, else by the audio | `confidence` |
| kaldi | `text`: id, space, words | file `confidence` beside it: id, space, number |
| tsv | id, TAB, text[, TAB, confidence] | third column |
| ledger | a folder that `asr label` wrote, or a run's: the last label of each | column `confidence` |
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from asr.errors import UserError
from asr.evaluation.transcript_lines import LineError, numbered_lines
from asr.evaluation.transcripts import guess_format
from asr.pseudo_labels.ledger import FOLDER, read_ledger
from asr.pseudo_labels.outside.lines import (
    READERS,
    TSV_HEADING,
    WRITERS,
    WrittenLabel,
    check_writable,
    confidence_of,
    read_kaldi,
    write_cut,
    write_kaldi_confidence,
    write_supervision,
)
from asr.utils.files import replacing_gzip, replacing_text
from asr.utils.hashes import sha256_of_digests

EXPORTS = ("asr", "lhotse", "nemo", "kaldi", "tsv")
_KALDI_TEXT, _KALDI_CONFIDENCE = "text", "confidence"


def read_labels(path: Path) -> dict[str, WrittenLabel]:
    """Labels by id, in the order of the file; its format is told by its name and its first line.

    Raises UserError with file, line and remedy.
    """
    found: dict[str, WrittenLabel] = {}
    for where, label in _labels(path):
        if label.id in found:
            raise UserError(f"{where}: id '{label.id}' for the second time", "keep one of them")
        found[label.id] = label
    if not found:
        raise UserError(
            f"{path}: holds no labels",
            "write id, TAB, text lines into a .tsv, or what `asr label` writes",
        )
    return found


def _labels(path: Path) -> Iterator[tuple[str, WrittenLabel]]:
    """Each with where it stands."""
    if (path / FOLDER).is_dir():
        yield from _ledger(path)
        return
    kind = "kaldi" if path.name == _KALDI_TEXT and path.is_file() else guess_format(path)
    if kind not in READERS:
        raise UserError(
            f"{path}: looks like {kind}, which is not read as labels",
            f"convert it to one of {', '.join(READERS)}",
        )
    confidences = _kaldi_confidences(path) if kind == "kaldi" else {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        try:
            label = READERS[kind](line, number)
        except LineError as fault:
            raise fault.at(where) from None
        if label is not None and label.id in confidences:
            label = WrittenLabel(label.id, label.text, confidences[label.id])
        if label is not None:
            yield where, label


def _kaldi_confidences(path: Path) -> dict[str, float | None]:
    beside = path.with_name(_KALDI_CONFIDENCE)
    if path.name != _KALDI_TEXT or not beside.is_file():
        return {}
    found = {}
    for number, line in numbered_lines(beside):
        try:
            pair = read_kaldi(line, number)
            assert pair is not None
            found[pair.id] = confidence_of(pair.text)
        except LineError as fault:
            raise fault.at(f"{beside}, line {number}") from None
    return found


def _ledger(folder: Path) -> Iterator[tuple[str, WrittenLabel]]:
    """The last label of each utterance, if it was one that may be trained on."""
    table = read_ledger(folder, "labels").select(["utterance", "text", "confidence", "dropped"])
    last = {row["utterance"]: row for row in table.to_pylist()}
    for name, row in last.items():
        if row["dropped"] is None or row["dropped"] == "empty":
            known = row["confidence"] is not None and not math.isnan(row["confidence"])
            yield str(folder), WrittenLabel(name, row["text"], row["confidence"] if known else None)


def file_of(folder: Path, kind: str) -> Path:
    """Where a folder holds the labels of one of EXPORTS."""
    return {
        "asr": folder / "labels.asr.jsonl",
        "lhotse": folder / "labels.lhotse.jsonl.gz",
        "nemo": folder / "labels.nemo.jsonl",
        "kaldi": folder / "kaldi" / _KALDI_TEXT,
        "tsv": folder / "labels.tsv",
    }[kind]


def write_labels(folder: Path, kind: str, labels: Iterable[WrittenLabel]) -> Path:
    """Write labels as one of EXPORTS; returns the file. `read_labels` gives back ids, texts and confidences.

    Lhotse's are cuts where every utterance has an audio file, and else supervisions. Raises UserError for what
    the format cannot hold.
    """
    path = file_of(folder, kind)
    kept = list(labels)
    for label in kept:
        check_writable(label)
    if kind == "lhotse":
        writer = write_cut if all(label.audio for label in kept) else write_supervision
        with replacing_gzip(path) as raw, io.TextIOWrapper(raw, encoding="utf-8") as text:
            text.writelines(map(writer, kept))
        return path
    if kind == "kaldi":  # wants the order of the ids' bytes
        kept.sort(key=lambda label: label.id.encode())
    lines = list(map(WRITERS[kind], kept))
    with replacing_text(path) as stream:
        stream.writelines([TSV_HEADING, *lines] if kind == "tsv" else lines)
    if kind == "kaldi":
        with replacing_text(path.with_name(_KALDI_CONFIDENCE)) as stream:
            stream.writelines(map(write_kaldi_confidence, kept))
    return path


def sha256_of(path: Path) -> str:
    """Of a file of labels, or of a folder's ledger."""
    files = sorted((path / FOLDER / "labels").glob("*.parquet")) if path.is_dir() else [path]
    return sha256_of_digests(files)
