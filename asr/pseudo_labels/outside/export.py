"""A run's labels for other toolkits: the last of each utterance, as many as pass the filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.pseudo_labels.ledger import FOLDER, read_ledger
from asr.pseudo_labels.outside.label_files import write_labels
from asr.pseudo_labels.outside.lines import WrittenLabel


@dataclass(frozen=True)
class Filters:
    """Which labels are exported; None and False where nothing is asked."""

    at_hours: float | None = None
    """The last label of each utterance up to these hours of audio."""
    min_confidence: float | None = None
    """A label without a confidence has not so much."""
    max_wer_estimate: float | None = None
    """In percent; a label without an estimate is above it."""
    min_seconds: float = 0.0
    max_seconds: float = float("inf")
    with_dropped: bool = False
    """Also what the run has not trained on, empty texts among it."""

    def why_not(self, row: dict[str, Any]) -> str | None:
        """Why a row of the ledger is left out; None where it is not."""
        if row["dropped"] is not None and not self.with_dropped:
            return str(row["dropped"])
        if not self.min_seconds <= row["seconds"] <= self.max_seconds:
            return "length"
        confidence, estimate = _known(row["confidence"]), _known(row.get("wer_estimate"))
        if self.min_confidence is not None and not (
            confidence is not None and confidence >= self.min_confidence
        ):
            return "low confidence"
        if self.max_wer_estimate is not None and not (
            estimate is not None and estimate <= self.max_wer_estimate
        ):
            return "high estimate of WER"
        return None


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    labels: int
    left_out: dict[str, int]
    """By reason."""
    without_audio: int
    """Of the labels, those whose recordings are not known."""


def export_labels(
    run: Path, kind: str, output: Path, filters: Filters, manifests: Sequence[Path] = ()
) -> Exported:
    """Write a run's labels, or those of `asr label`'s folder, as one of EXPORTS into `output`.

    Recordings are those of `manifests`, by default of the run's untranscribed sets. Raises UserError where
    there are no labels, none passes the filters, or a format cannot hold one.
    """
    columns = ("utterance", "hours", "text", "confidence", "seconds", "dropped", "wer_estimate")
    table = read_ledger(run, "labels")
    rows = table.select([name for name in columns if name in table.column_names]).to_pylist()
    if not rows:
        raise UserError(f"{run / FOLDER}: holds no labels", "name a run that has pseudo-labelled")
    until = float("inf") if filters.at_hours is None else filters.at_hours
    last = {row["utterance"]: row for row in rows if row["hours"] <= until}
    if not last:
        first = min(row["hours"] for row in rows)
        raise UserError(
            f"--at {until:g}: no label was made by then", f"the first is of {first:g} h"
        )
    reasons = {name: filters.why_not(row) for name, row in last.items()}
    left_out = Counter(reason for reason in reasons.values() if reason is not None)
    kept = [row for name, row in last.items() if reasons[name] is None]
    if not kept:
        told = ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common())
        raise UserError(f"{run}: no label passes the filters ({told})", "ask for less")
    records = records_of(run, [row["utterance"] for row in kept], manifests)
    labels = [_written(row, record) for row, record in zip(kept, records, strict=True)]
    output.mkdir(parents=True, exist_ok=True)
    path = write_labels(output, kind, labels)
    without = sum(record is None for record in records)
    return Exported(path, len(labels), dict(left_out.most_common()), without)


def records_of(
    run: Path, names: Sequence[str], manifests: Sequence[Path] = ()
) -> list[tuple[dict[str, Any], str] | None]:
    """(line in its manifest, reference) of each utterance; None where it is not found.

    In the run's untranscribed sets, if no manifests are named.
    """
    from asr.data.dataset import SpeechSet, load_role
    from asr.data.segments import Kind
    from asr.model.model_folder import read_config

    if manifests:
        speech = SpeechSet.joined([SpeechSet.load(path) for path in manifests])
    else:
        try:
            speech = load_role(read_config(run), Kind.UNTRANSCRIBED)
        except UserError:  # it is gone, or `asr label` wrote the folder
            return [None] * len(names)
    return [
        None if place is None else (speech.records[place], speech.references[place])
        for place in speech.places_of(names)
    ]


def _written(row: dict[str, Any], record: tuple[dict[str, Any], str] | None) -> WrittenLabel:
    cut, reference = record or (None, "")
    name = row["utterance"] if cut is None else str(cut["id"])
    return WrittenLabel(
        name, row["text"], _known(row["confidence"]), float(row["seconds"]), reference, cut
    )


def _known(value: float | None) -> float | None:
    """The ledger keeps 32 bits of it: 0.9 is a little less there."""
    return None if value is None or value != value else round(float(value), 6)
