"""What the report says of a run's metrics: the summary in words, and the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr.evaluation.bootstrap import FEW_UTTERANCES, verdict
from asr.evaluation.edit_distance import Aligned, aligned_words
from asr.tracking.shapes import is_number

WORST = 15
MOST_ROWS = 3000
"""Utterances that a page has a table of: more would make it slow."""
MODEL_NAMES = {
    "zero_shot": "Zero-shot (as pretrained)",
    "supervised": "Supervised baseline",
    "supervised_student": "Supervised, student weights",
    "student": "Student",
    "teacher": "Teacher (EMA)",
    "probe_teacher": "Linear probe of the teacher (EMA)",
    "probe_student": "Linear probe of the student",
}
_IN_A_SENTENCE = {
    "zero_shot": "the pretrained model (zero-shot)",
    "supervised": "the supervised baseline",
    "supervised_student": "the supervised student",
    "student": "the student",
    "teacher": "the teacher (EMA)",
    "probe_teacher": "a linear probe of the teacher's features",
    "probe_student": "a linear probe of the student's features",
}
BASELINES = (("supervised", "the supervised baseline's"), ("zero_shot", "the pretrained model's"))
"""What a teacher is compared with, the first that is there."""


def compared_under(results: Mapping[str, Any]) -> str:
    """Under which normaliser texts are compared, in a sentence."""
    of_runs: Mapping[str, str] = results.get("normalisers") or {"": results["normaliser"]}
    if len(set(of_runs.values())) > 1:
        each = ", ".join(f"{run}: {stamp}" for run, stamp in of_runs.items())
        return (
            f"The recipes compare texts under different normalisers ({each}), so that no rate of one run is "
            "compared with another's; asr report --normaliser NAME takes one for all."
        )
    [stamp] = set(of_runs.values())
    return f"Texts are compared under the normaliser {stamp}."


def summary(results: Mapping[str, Any], main_set: str | None) -> tuple[str, str]:
    """In a sentence, and what follows: who is better, by how much, and whether that may be chance."""
    if main_set is None:
        return "Nothing has been decoded yet, so there are no final results.", ""
    models = results["sets"][main_set]
    teacher = models.get("teacher")
    baseline, whose = next(((b, w) for b, w in BASELINES if b in models), (None, ""))
    if teacher is None or baseline is None:
        found = " and ".join(
            f"{_IN_A_SENTENCE.get(name, name)} has a word error rate of "
            f"{s['wer']:.2f} % (95 % interval {s['wer_low']:.2f} to {s['wer_high']:.2f})"
            for name, s in models.items()
        )
        missing = "supervised baseline" if baseline is None else "teacher"
        return f"On {main_set}, {found}.", f"There is no {missing} here to compare with."
    paired = results["paired"][f"teacher_vs_{baseline}"]
    words = _comparison("word error rate", "wer", teacher, models[baseline], whose, paired)
    characters = _comparison(
        "character error rate", "cer", teacher, models[baseline], whose, paired
    )
    basis = f"Paired bootstrap over {teacher['utterances']:,} utterances"
    if teacher["utterances"] < FEW_UTTERANCES:
        basis += ", which are too few to rely on it"
    if len(results["paired"]) > 1:
        basis += f"; p-values corrected for {len(results['paired'])} pairs of models (Holm)"
    return f"On {main_set}, the teacher's {words}.", f"Its {characters}. {basis}."


def _comparison(
    name: str,
    unit: str,
    teacher: Mapping[str, float],
    baseline: Mapping[str, float],
    whose: str,
    paired: Mapping[str, float],
) -> str:
    delta, p = paired[f"delta_{unit}"], paired[f"p_{unit}_holm"]
    opening = f"{name} is {teacher[unit]:.2f} %"
    if delta == 0:
        return f"{opening}, the same as {whose}"
    compared = f"{abs(delta):.2f} points {'lower' if delta < 0 else 'higher'} than"
    share = 100 * abs(delta) / baseline[unit] if baseline[unit] else 0.0
    relative = f", {share:.0f} % {'fewer' if delta < 0 else 'more'} errors" if share else ""
    return (
        f"{opening}, {compared} {whose} {baseline[unit]:.2f} %{relative}: "
        f"{verdict(p)} ({p_value(p)})"
    )


def p_value(p: float) -> str:
    """A p-value as text; the smallest ones only bounded."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def result_rows(
    models: Mapping[str, Mapping[str, float]], are_ranked: bool = True
) -> list[dict[str, Any]]:
    """Rows of a set's table, with the ends of the inline bars in percent of the bar's width.

    The bars' scale is as wide as the intervals, so that rates that lie near each other are told apart; one of
    more than twice the lowest has no bar.

    `are_ranked` says whether they are of the same data, so that the lowest rate is the best.
    """
    scale = _scale(list(models.values()))
    best = min((s["wer"] for s in models.values()), default=0.0)
    return [
        {
            **s,
            "model": model,
            "best": s["wer"] == best and len(models) > 1 and are_ranked,
            "scale": scale,
            "bar": [
                round(100 * (s[key] - scale[0]) / (scale[1] - scale[0]), 2)
                for key in ("wer_low", "wer", "wer_high")
            ]
            if s["wer_high"] <= scale[1]
            else None,
        }
        for model, s in models.items()
    ]


def _scale(models: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """From where to where intervals are drawn, in percent."""
    near = 2 * min((s["wer"] for s in models), default=0.0)
    drawn = [s for s in models if s["wer"] <= near] or models
    low, high = min(s["wer_low"] for s in drawn), max(s["wer_high"] for s in drawn)
    margin = 0.06 * (high - low) or 1.0
    return max(0.0, low - margin), high + margin


def pair_row(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a pair, and the better one; its p-values are those corrected for the number of pairs."""
    found = dict(metrics)
    for unit in ("wer", "cer"):
        found[f"p_{unit}"], found[f"better_{unit}"] = (
            metrics[f"p_{unit}_holm"],
            winner(metrics, unit),
        )
    return found


def winner(pair: Mapping[str, Any], unit: str) -> str | None:
    """The better one of a pair; None where the difference may be chance."""
    if pair[f"p_{unit}_holm"] >= 0.05:
        return None
    return str(pair["first"] if pair[f"delta_{unit}"] < 0 else pair["second"])


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


def utterance_rows(aligned: Sequence[Aligned], most: int = MOST_ROWS) -> list[dict[str, Any]]:
    """All utterances of a model, or those with most word errors; with their alignments."""
    rows = []
    for one in sorted(aligned, key=lambda one: -one.words.errors)[:most]:
        confidence = one.utterance.fields.get("confidence")
        rows.append(
            {
                "utterance": one.utterance,
                "counts": one.words,
                "rate": one.words.rate if one.words.reference_length else None,
                "confidence": confidence if is_number(confidence) else None,
                "tokens": aligned_words(one),
            }
        )
    return rows


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
