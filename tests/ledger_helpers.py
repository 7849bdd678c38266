"""A ledger of invented pseudo-labels."""

from __future__ import annotations

from pathlib import Path

from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.records import Errors, LabelRecord, LabelUseRecord


def row(
    name: str, text: str, hours: float, errors: int | None = 0, dropped: str | None = None
) -> LabelRecord:
    label = Label([1] * len(text), LabelMetrics(0.9, 0.5, hours / 10), hours, 0.25, dropped)
    known = None if errors is None else Errors(1, 2, errors, 4)
    return LabelRecord((int(hours), 7), name, 2.0, label, text, None if hours < 2 else 0.5, known)


def make_ledger(folder: Path) -> Path:
    """Two utterances, labelled at hours 1, 2 and 3; one of the first labels is used three times."""
    ledger = LabelLedger(folder, 0)
    for batch in (1, 2, 3):
        hours = float(batch)
        ledger.note_labels(
            batch, [row("a", "ab" * batch, hours, 3 - batch), row("b", "", hours, 4, "empty")]
        )
        if batch > 1:
            ledger.note_uses(batch, hours, [LabelUseRecord((1, 7), "a", batch - 1, 1.0, None)])
        ledger.write(batch)
    ledger.note_uses(4, 4.0, [LabelUseRecord((2, 7), "a", 1, 2.0, "infeasible")])
    ledger.write(4)
    return folder
