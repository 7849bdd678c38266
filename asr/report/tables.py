"""What the report says of a run's metrics: the summary in words, and the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr.evaluation.bootstrap import FEW_UTTERANCES, verdict
from asr.evaluation.edit_distance import Aligned, aligned_words

WORST = 15
MODEL_NAMES = {
    "supervised": "Supervised baseline",
    "supervised_student": "Supervised, student weights",
    "student": "Student",
    "teacher": "Teacher (EMA)",
}


def summary(results: Mapping[str, Any], main_set: str | None) -> str:
    """In one or two sentences: who is better, by how much, and whether that may be chance."""
    if main_set is None:
        return "Nothing has been decoded yet, so there are no final results."
    models = results["sets"][main_set]
    teacher, supervised = models.get("teacher"), models.get("supervised")
    if teacher is None or supervised is None:
        found = " and ".join(
            f"the {MODEL_NAMES.get(name, name).lower().replace('ema', 'EMA')} has a word error rate of "
            f"{s['wer']:.2f} % (95 % interval {s['wer_low']:.2f} to {s['wer_high']:.2f})"
            for name, s in models.items()
        )
        missing = "supervised baseline" if supervised is None else "teacher"
        return f"On {main_set}, {found}. There is no {missing} here to compare with."
    paired = results["paired"]["teacher_vs_supervised"]
    words = _comparison("word error rate", "wer", teacher, supervised, paired)
    characters = _comparison("character error rate", "cer", teacher, supervised, paired)
    basis = f"Paired bootstrap over {teacher['utterances']:,} utterances"
    if teacher["utterances"] < FEW_UTTERANCES:
        basis += ", which are too few to rely on it"
    if len(results["paired"]) > 1:
        basis += f"; p-values corrected for {len(results['paired'])} pairs of models (Holm)"
    return f"On {main_set}, the teacher's {words}. Its {characters}. {basis}."


def _comparison(
    name: str,
    unit: str,
    teacher: Mapping[str, float],
    supervised: Mapping[str, float],
    paired: Mapping[str, float],
) -> str:
    delta, p = paired[f"delta_{unit}"], paired[f"p_{unit}_holm"]
    opening = f"{name} is {teacher[unit]:.2f} %"
    if delta == 0:
        return f"{opening}, the same as the supervised baseline's"
    compared = f"{abs(delta):.2f} points {'lower' if delta < 0 else 'higher'} than"
    share = 100 * abs(delta) / supervised[unit] if supervised[unit] else 0.0
    relative = f", {share:.0f} % {'fewer' if delta < 0 else 'more'} errors" if share else ""
    return (
        f"{opening}, {compared} the supervised baseline's {supervised[unit]:.2f} %{relative}: "
        f"{verdict(p)} ({p_value(p)})"
    )


def p_value(p: float) -> str:
    """A p-value as text; the smallest ones only bounded."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def result_rows(
    models: Mapping[str, Mapping[str, float]], are_ranked: bool = True
) -> list[dict[str, Any]]:
    """Rows of a set's table, with the ends of the inline bars in percent of the bar's width.

    `are_ranked` says whether they are of the same data, so that the lowest rate is the best.
    """
    widest = max((s["wer_high"] for s in models.values()), default=0.0) * 1.06 or 1.0
    best = min((s["wer"] for s in models.values()), default=0.0)
    return [
        {
            **s,
            "model": model,
            "best": s["wer"] == best and len(models) > 1 and are_ranked,
            "bar": [round(100 * s[key] / widest, 2) for key in ("wer_low", "wer", "wer_high")],
        }
        for model, s in models.items()
    ]


def pair_row(name: str, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The metrics of a pair, first_vs_second; its p-values are those corrected for the number of pairs."""
    first, _, second = name.partition("_vs_")
    corrected = {f"p_{unit}": metrics[f"p_{unit}_holm"] for unit in ("wer", "cer")}
    return {"first": first, "second": second, **metrics, **corrected}


def breakdown(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Rows by value; the counts are those of the first model that has the value."""
    values = list(dict.fromkeys(value for groups in models.values() for value in groups))
    rows = []
    for value in values:
        cells = {model: groups.get(value) for model, groups in models.items()}
        counts = next(cell for cell in cells.values() if cell)
        rows.append({"value": value, "counts": counts, "cells": cells})
    return {"models": list(models), "rows": rows}


def worst_utterances(aligned: Sequence[Aligned], most: int = WORST) -> list[dict[str, Any]]:
    """Those with most word errors (ties: the higher rate, then the id), with their alignments."""
    ranked = sorted(
        (one for one in aligned if one.words.errors),
        key=lambda one: (-one.words.errors, -one.words.rate, one.utterance.id),
    )
    return [
        {"utterance": one.utterance, "counts": one.words, "tokens": aligned_words(one)}
        for one in ranked[:most]
    ]


def scaling_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """Rows (name, reference, in force, changed), and whatever else scaling.json says."""
    apart = ("reference", "in_force", "history")
    rest = {key: value for key, value in card.items() if key not in apart}
    history = card.get("history") or []
    if len(history) > 1:
        rest["batches of the run"] = "; ".join(
            f"from {c['from_hours']:.4g} h: {c['in_force']['batch_seconds']:g} s, kappa {c['kappa']:g}, "
            f"{c['ranks']} ranks"
            for c in history
        )
    left, right = (dict(flat(card.get(key) or {})) for key in ("reference", "in_force"))
    names = dict.fromkeys([*left, *right])
    rows = [(n, left.get(n, "–"), right.get(n, "–"), left.get(n) != right.get(n)) for n in names]
    return {"rows": rows, "rest": list(flat(rest))}


def flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of a nested dict as (dotted name, text)."""
    if not isinstance(tree, Mapping):
        return [(prefix.rstrip("."), _scalar(tree))]
    return [leaf for key, value in tree.items() for leaf in flat(value, f"{prefix}{key}.")]


def _scalar(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_scalar(item) for item in value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.8g}" if isinstance(value, float) else str(value)
