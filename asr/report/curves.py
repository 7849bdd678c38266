"""Which curves a report shows: the lines of metrics.jsonl as charts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from asr.report.plots import Chart, Series, Style
from asr.tracking.run_reader import Run, dropped_of
from asr.tracking.shapes import is_number

TEACHER = Style("#8b5cf6", "-", "o")
STUDENT = Style("#2f81c7", (0, (5, 2)), "s")
SUPERVISED = Style("#cf6a12", (0, (1.2, 1.4)), "^")
SUPERVISED_STUDENT = Style("#a37a1c", (0, (6, 1.5, 1.2, 1.5)), "v")
OTHERS = (
    Style("#13917f", "-", "o"),
    Style("#d43f8d", (0, (5, 2)), "s"),
    Style("#7c8a2b", (0, (1.2, 1.4)), "^"),
    Style("#c2513f", (0, (6, 1.5, 1.2, 1.5)), "v"),
    Style("#6b7785", (0, (3, 1.5, 1, 1.5, 1, 1.5)), "D"),
)


def curve(
    lines: Sequence[Mapping[str, Any]], key: str, label: str, style: Style, markers: bool = False
) -> list[Series]:
    """The curve of `key`, in a list; an empty list where no line has a finite number for it."""
    points = [(line["hours"], line[key]) for line in lines if is_number(line.get(key))]
    if not points:
        return []
    hours, values = zip(*points, strict=True)
    return [Series(label, hours, values, style, markers)]


Marks = Sequence[tuple[float, str]]


def marks_of(
    config: Mapping[str, Any],
    card: Mapping[str, Any],
    start_hours: float | None,
    run: Run | None = None,
    complete: Mapping[str, Any] | None = None,
) -> Marks:
    """Where a run changes: pseudo-labels and SpecAugment begin, the batch or the learning rate is another one,
    or it was stopped early.

    `config`, `card` and `complete` are the run's config.yaml, scaling.json and complete.json, as read; any
    may be empty.
    """
    found: list[tuple[float, str]] = []
    if start_hours is not None:
        found.append((start_hours, "pseudo-labels from here"))
    masks = ((config.get("augmentation") or {}).get("spec_augment") or {}).get("start_hours") or 0.0
    if is_number(masks) and masks > 0:
        found.append((masks, "SpecAugment from here"))
    for later in (card.get("history") or [])[1:]:
        if is_number(later.get("from_hours")):
            found.append((later["from_hours"], f"kappa {later['kappa']:g} from here"))
    factor = ((config.get("optimizer") or {}).get("plateau") or {}).get("factor")
    lines = run.training if run else []
    for before, line in itertools.pairwise(lines):
        if (line.get("plateau_decays") or 0) > (before.get("plateau_decays") or 0):
            found.append((before["hours"], f"learning rate x {factor} from here"))
    if complete and complete.get("stopped_early") and is_number(complete.get("hours")):
        found.append((complete["hours"], "stopped early"))
    return found


def learning_charts(main: Run, baseline: Run, marks: Marks = ()) -> list[Chart]:
    """WER and CER of each dev set: student and teacher, of the run and of its baseline."""
    drawn = (
        (main, "teacher", "teacher", TEACHER),
        (main, "student", "student", STUDENT),
        (baseline, "teacher", "supervised teacher", SUPERVISED),
        (baseline, "student", "supervised student", SUPERVISED_STUDENT),
    )
    sets = dict.fromkeys(line["set"] for run in (main, baseline) for line in run.evaluations)
    charts = []
    for number, name in enumerate(sets):
        for unit in ("wer", "cer"):
            series = [
                one
                for run, model, label, style in drawn
                for one in curve(_evaluations(run, name, model), unit, label, style, markers=True)
            ]
            if series:
                title = f"{unit.upper()} on {name}"
                chart = Chart(f"{unit}-{number}", title, f"{unit.upper()}, %", series, marks)
                charts.append(chart)
    return charts


def half_life_charts(records: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Error rates of averages that were made after the run, against their half-life (`asr average`)."""
    charts = []
    for number, name in enumerate(dict.fromkeys(str(r["set"]) for r in records)):
        own = sorted((r for r in records if r["set"] == name), key=lambda r: r["half_life_hours"])
        points = [{**r, "hours": r["half_life_hours"]} for r in own]
        for unit in ("wer", "cer"):
            series = curve(points, unit, f"{unit.upper()}, made after the run", TEACHER, True)
            chart = Chart(
                f"half-life-{unit}-{number}",
                f"{unit.upper()} on {name} by the half-life of the average",
                f"{unit.upper()}, %",
                series,
                x_label="half-life in hours of audio, log scale",
                is_x_logarithmic=True,
            )
            charts.append(chart)
    return [chart for chart in charts if chart.series]


def side_by_side(runs: Mapping[str, Run]) -> list[Chart]:
    """Of several runs: error rates of each dev set by model, loss, and errors in the pseudo-labels."""
    looks = (TEACHER, *OTHERS)
    styles = {}
    for number, name in enumerate(runs):
        again, here = divmod(number, len(looks))
        other = looks[(here + again) % len(looks)]  # colours recur with other dashes and markers
        styles[name] = Style(looks[here].colour, other.dashes, other.marker)
    sets = dict.fromkeys(line["set"] for run in runs.values() for line in run.evaluations)
    charts = []
    for number, name in enumerate(sets):
        for model, unit in itertools.product(("teacher", "student"), ("wer", "cer")):
            series = [
                one
                for label, run in runs.items()
                for one in curve(
                    _evaluations(run, name, model), unit, shortened(label), styles[label], True
                )
            ]
            title = f"{unit.upper()} of the {model} on {name}"
            charts.append(Chart(f"{unit}-{model}-{number}", title, f"{unit.upper()}, %", series))
    for key, title, unit in (
        ("loss", "Training loss", "loss"),
        ("pseudo_label_wer", "Errors in the pseudo-labels", "WER, %"),
    ):
        series = [
            one
            for label, run in runs.items()
            for one in curve(run.training, key, shortened(label), styles[label])
        ]
        charts.append(Chart(key, title, unit, series))
    return [chart for chart in charts if chart.series]


def shortened(name: str, most: int = 36) -> str:
    """A run's name as a legend can hold it: its beginning and its end."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def _evaluations(run: Run, name: str, model: str) -> list[dict[str, Any]]:
    return [e for e in run.evaluations if e["set"] == name and e.get("model") == model]


def loss_chart(main: Run, baseline: Run, marks: Marks = ()) -> list[Chart]:
    """The loss by kind of audio; an empty list where nothing was logged."""
    series = [
        *curve(main.training, "loss_labelled", "labelled", STUDENT),
        *curve(main.training, "loss_pseudo_labelled", "pseudo-labelled", TEACHER),
        *curve(baseline.training, "loss_labelled", "supervised", SUPERVISED),
    ] or curve(main.training, "loss", "loss", STUDENT)
    return [Chart("loss", "Training loss", "loss", series, marks)] if series else []


def pseudo_label_charts(run: Run) -> list[Chart]:
    """Error rates of the labels, how much is used and empty, and what was dropped and why."""
    lines = run.with_pseudo_labels
    quality = [
        *curve(lines, "pseudo_label_wer", "WER", TEACHER),
        *curve(lines, "pseudo_label_cer", "CER", STUDENT),
        *curve(lines, "pseudo_label_wer_estimate", "WER, estimated", OTHERS[0]),
    ]
    shares = [
        *curve(_share_so_far(run.since_pseudo_labels), "percent", "of audio so far", OTHERS[0]),
        *curve(percent(lines, "pseudo_label_empty_share"), "percent", "empty labels", OTHERS[1]),
    ]
    health = [
        *curve(percent(lines, "pseudo_label_change"), "percent", "change of labels", TEACHER),
        *curve(percent(lines, "pseudo_label_disagreement"), "percent", "student's edits", STUDENT),
        *curve(percent(lines, "pseudo_label_repetition"), "percent", "repetition", OTHERS[1]),
    ]
    ratio = curve(lines, "pseudo_label_length_ratio", "length ratio", OTHERS[0])
    dropped = [
        one
        for reason, style in zip(run.dropped_labels, OTHERS * 4, strict=False)
        for one in curve(_dropped(lines, reason), "count", reason.replace("_", " "), style)
    ]
    charts = (
        Chart("label-errors", "Errors in the pseudo-labels", "error rate, %", quality),
        Chart("label-share", "Pseudo-labelled audio; empty labels", "share, %", shares, (), True),
        Chart("label-health", "Change, disagreement, repetition", "of tokens, %", health, (), True),
        Chart("label-ratio", "Length against transcripts", "tokens/s, ratio", ratio, (), True),
        Chart(
            "label-dropped",
            "Labels dropped, by reason",
            "labels per update",
            dropped,
            (),
            True,
            60,
        ),
    )
    return [chart for chart in charts if chart.series]


def _dropped(lines: Sequence[Mapping[str, Any]], reason: str) -> list[dict[str, Any]]:
    """A reason that a line leaves out has no label."""
    return [{"hours": line["hours"], "count": dropped_of(line).get(reason, 0)} for line in lines]


def _share_so_far(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pseudo-labelled audio of all, in percent, from the first line on: single batches may be of one kind."""
    found: list[dict[str, Any]] = []
    labelled = total = 0.0
    for line in lines:
        if is_number(line.get("batch_seconds")) and is_number(line.get("pseudo_labelled_share")):
            labelled += line["pseudo_labelled_share"] * line["batch_seconds"]
            total += line["batch_seconds"]
            found.append({"hours": line["hours"], "percent": 100.0 * labelled / max(1e-9, total)})
    return found


def percent(lines: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """Lines whose `percent` is a hundred times `key`, of those that have it."""
    known = [line for line in lines if is_number(line.get(key))]
    return [{"hours": line["hours"], "percent": 100.0 * line[key]} for line in known]
