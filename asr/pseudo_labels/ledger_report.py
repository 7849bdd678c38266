"""What `asr labels` shows of a run's ledger: by hours, between two times or two runs, and the worst."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.pseudo_labels.ledger import FOLDER, read_ledger
from asr.pseudo_labels.ledger_stats import (
    Columns,
    by_hours,
    changes,
    metrics,
    use_metrics,
    worst,
)
from asr.pseudo_labels.outside.export import records_of
from asr.pseudo_labels.outside.lines import WrittenLabel

_ROWS_SHOWN = 12


def _labels(run: Path, without: list[str]) -> Columns:
    labels = Columns.read(read_ledger(run, "labels", without))
    if not len(labels):
        raise UserError(
            f"{run / FOLDER}: holds no labels",
            "name the folder of a run that has pseudo-labelled with "
            "pseudo_label.ledger on, and has saved a checkpoint since",
        )
    return labels


def by_hours_of(run: Path, every_hours: float | None = None) -> dict[str, Any]:
    """Metrics of all labels and uses, and of each `every_hours` of audio; about 12 rows at None.

    Raises UserError for a run without labels.
    """
    labels = _labels(run, ["text"])
    hours = labels.of["hours"]
    every = every_hours or _round_hours((hours.max() - hours.min()) / _ROWS_SHOWN)
    return {
        "all": metrics(labels),
        "every_hours": every,
        "by_hours": by_hours(labels, every),
        "uses": use_metrics(Columns.read(read_ledger(run, "uses"))),
    }


def _round_hours(hours: float) -> float:
    """1, 2 or 5 times a power of ten, not below; 1 for nothing."""
    power = 1e-3
    while hours > 0:
        for digit in (1, 2, 5):
            if digit * power >= hours:
                return float(digit * power)
        power *= 10
    return 1.0


def difference(
    run: Path,
    other: Path | None,
    begin_hours: float | None,
    end_hours: float | None,
    count: int,
) -> dict[str, Any]:
    """What changed between the first and the last labels of a run, two times, or the last ones of two runs.

    With the `count` that changed most. Raises UserError where no utterance has a label on both sides.
    """
    labels = _labels(run, [])
    hours = labels.of["hours"]
    if other is not None:
        before, after = labels.last_of_each(), _labels(other, []).last_of_each()
        between = f"the last labels of {run} and of {other}"
    else:
        end = hours.max() if end_hours is None else end_hours
        after = labels.where(hours <= end).last_of_each()
        if begin_hours is None:
            firsts = labels.where(_firsts(labels))
            before, between = firsts, f"the first labels and the last until {end:g} h"
        else:
            before = labels.where(hours <= begin_hours).last_of_each()
            between = f"the last labels until {begin_hours:g} h and until {end:g} h"
    found = changes(before, after)
    if not found:
        raise UserError(
            f"no utterance has a label on both sides of {between}; labels were made from "
            f"{hours.min():.2f} to {hours.max():.2f} h",
            "choose times between which utterances were labelled again",
        )
    errors = [one.character_errors for one in found if one.character_errors is not None]
    return {
        "between": between,
        "utterances": len(found),
        "changed": sum(one.change > 0 for one in found),
        "mean_change": sum(one.change for one in found) / len(found),
        "better": sum(now < then for then, now in errors),
        "worse": sum(now > then for then, now in errors),
        "most_changed": [asdict(one) for one in found[:count] if one.change > 0],
    }


def _firsts(labels: Columns) -> Any:
    import numpy as np

    _, rows = np.unique(labels.of["utterance"].astype(str), return_index=True)
    return np.sort(rows)


def worst_of(run: Path, count: int) -> dict[str, Any]:
    """The last labels with the most character errors, or the least confidence.

    References and recordings where they are known.
    """
    by, rows = worst(_labels(run, []), count)
    return {"by": by, "labels": _with_sources(run, _records(rows))}


def _records(labels: Columns) -> list[dict[str, Any]]:
    return [
        {name: _plain(values[row]) for name, values in labels.of.items()}
        for row in range(len(labels))
    ]


def _with_sources(run: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """References and recordings, where the run's manifests are still there and know them."""
    found = []
    for row, record in zip(rows, records_of(run, [r["utterance"] for r in rows]), strict=True):
        cut, reference = record or ({}, "")
        label = WrittenLabel(row["utterance"], row["text"], cut=cut)
        audio = None if label.audio is None else str(Path(label.audio).absolute())
        source = {"audio": audio, "audio_begin": cut.get("start", 0.0)}
        found.append({**row, "reference": reference or None, **source})
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value else float(value)
    return value
