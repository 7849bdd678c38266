"""What a ledger says: metrics by hours of audio, changes between two times or two runs, the worst labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.pseudo_labels.filters import NO_LABEL, token_error_rate


@dataclass(frozen=True)
class Columns:
    """A ledger's table as arrays; `None` of a column is NaN."""

    of: dict[str, NDArray[Any]]

    @classmethod
    def read(cls, table: Any) -> Columns:
        """Of a pyarrow table."""
        arrays = {}
        for name in table.column_names:
            if name == "token_confidences":  # no number
                continue
            column = table[name]
            if name in ("utterance", "source", "text", "dropped", "confidence_measure"):
                arrays[name] = np.array(column.to_pylist(), dtype=object)
            else:
                arrays[name] = column.to_numpy().astype(np.float64)
        return cls(arrays)

    def __len__(self) -> int:
        return len(self.of["batch"])

    def where(self, chosen: NDArray[Any]) -> Columns:
        """Some rows, by a mask or by their places."""
        return Columns({name: values[chosen] for name, values in self.of.items()})

    @property
    def confidence_measures(self) -> list[str]:
        """By which the confidence was measured, in the order of their first labels."""
        # Older ledgers name none.
        return [name or "frames" for name in dict.fromkeys(self.of["confidence_measure"])]

    def last_of_each(self) -> Columns:
        """The last label of each utterance."""
        last = {name: row for row, name in enumerate(self.of["utterance"])}
        return self.where(np.array(sorted(last.values()), dtype=np.int64))


def metrics(labels: Columns) -> dict[str, Any]:
    """Of some labels; rates and shares from 0 to 1, but WER and CER in percent; None where nothing is known."""
    of, count = labels.of, len(labels)
    if not count:
        return {"labels": 0}
    said = labels.where(np.array([reason not in NO_LABEL for reason in of["dropped"]])).of
    return {
        "labels": count,
        "utterances": len(set(of["utterance"])),
        "hours_of_speech": float(of["seconds"].sum() / 3600),
        "empty": _mean((said["tokens"] == 0).astype(np.float64)),
        "tokens_per_second": _ratio(said["tokens"].sum(), said["seconds"].sum()),
        "confidence": _mean(of["confidence"]),
        "confidence_measures": labels.confidence_measures,
        "blank_share": _mean(of["blank_share"]),
        "entropy": _mean(of["entropy"]),
        "ctc_score": _mean(of["ctc_score"]),
        "change": _mean(of["change"]),
        "teacher_age_hours": _mean(of["teacher_age_hours"]),
        "wer": _ratio(100 * np.nansum(of["word_errors"]), np.nansum(of["words"])),
        "cer": _ratio(100 * np.nansum(of["character_errors"]), np.nansum(of["characters"])),
        # Older ledgers name no source.
        "sources": dict(Counter(source or "teacher" for source in of["source"]).most_common()),
        "wer_estimate": _mean(of["wer_estimate"], of["seconds"]),
        "dropped": dict(Counter(reason for reason in of["dropped"] if reason).most_common()),
    }


def use_metrics(uses: Columns) -> dict[str, Any]:
    """Of the uses of labels that were kept."""
    of = uses.of
    if not len(uses):
        return {"uses": 0}
    trained = uses.where(np.array([reason is None for reason in of["dropped"]]))
    ages = trained.of["age_hours"]
    return {
        "uses": len(uses),
        "trained_on": len(trained),
        "age_hours": _mean(ages),
        "oldest_hours": float(np.nanmax(ages)) if len(trained) else None,
        "uses_per_label": _uses_per_label(uses),
        "dropped": dict(Counter(reason for reason in of["dropped"] if reason).most_common()),
    }


def _uses_per_label(uses: Columns) -> float | None:
    """Mean over the labels that have been replaced: those that are still kept are not done."""
    of = uses.of
    are_last = of["is_last"] > 0
    if are_last.any():
        return float(of["use"][are_last].mean())
    made = np.round(of["hours"] - of["age_hours"], 6)
    counts = Counter(zip(of["utterance"], made.tolist(), strict=True))
    latest = dict(zip(of["utterance"], made.tolist(), strict=True))
    done = [count for (name, hours), count in counts.items() if latest[name] != hours]
    return sum(done) / len(done) if done else None


def by_hours(labels: Columns, every_hours: float) -> list[dict[str, Any]]:
    """Metrics of the labels made in each so many hours of audio."""
    rows = []
    number = np.floor(labels.of["hours"] / every_hours).astype(np.int64)
    for one in np.unique(number).tolist():
        part = metrics(labels.where(number == one))
        rows.append({"from_hours": one * every_hours, **part})
    return rows


@dataclass(frozen=True)
class Changed:
    """An utterance's label then and now."""

    utterance: str
    before: str
    after: str
    change: float
    """Character edits over the former's length."""
    character_errors: tuple[float, float] | None
    """Then and now; None without a reference."""


def changes(before: Columns, after: Columns) -> list[Changed]:
    """Of the utterances that have a label in both, the most changed first."""
    then = {name: row for row, name in enumerate(before.of["utterance"])}
    found = []
    for row, name in enumerate(after.of["utterance"]):
        if name not in then:
            continue
        texts = str(before.of["text"][then[name]]), str(after.of["text"][row])
        errors = before.of["character_errors"][then[name]], after.of["character_errors"][row]
        known = None if any(map(math.isnan, errors)) else (float(errors[0]), float(errors[1]))
        change = token_error_rate(list(map(ord, texts[1])), list(map(ord, texts[0])))
        found.append(Changed(name, *texts, change, known))
    return sorted(found, key=lambda one: (-one.change, one.utterance))


def worst(labels: Columns, count: int) -> tuple[str, Columns]:
    """By what, and the labels: character errors where references are known, else lack of confidence."""
    last = labels.last_of_each()
    known = ~np.isnan(last.of["characters"])
    if known.any():
        last = last.where(known)
        rate = last.of["character_errors"] / np.maximum(1, last.of["characters"])
        return "character errors", last.where(np.argsort(-rate, kind="stable")[:count])
    order = np.argsort(last.of["confidence"], kind="stable")
    measures = ", ".join(last.confidence_measures)
    return f"lack of confidence ({measures})", last.where(order[:count])


def _mean(
    values: Sequence[float] | NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> float | None:
    is_known = ~np.isnan(values)
    if not is_known.any():
        return None
    known = np.asarray(values)[is_known]
    return float(np.average(known, weights=None if weights is None else weights[is_known]))


def _ratio(numerator: float, denominator: float) -> float | None:
    return float(numerator / denominator) if denominator > 0 else None
