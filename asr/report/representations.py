"""What a report shows of a self-supervised run: what it predicts, and whether that has collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asr.report.curves import OTHERS, STUDENT, TEACHER, Marks, curve, percent
from asr.report.plots import Chart
from asr.tracking.run_reader import Run
from asr.tracking.shapes import is_number

_UNITS = (("dev_loss", "Dev loss", "loss"), ("effective_rank", "Effective rank", "directions"))


def representation_charts(run: Run, marks: Marks = ()) -> list[Chart]:
    """Dev loss and effective rank of each dev set, variances, dead frames; none where texts are trained on."""
    lines = [line for line in run.training if is_number(line.get("target_variance"))]
    if not lines:
        return []
    charts = []
    for number, name in enumerate(dict.fromkeys(str(one["set"]) for one in run.evaluations)):
        for key, title, unit in _UNITS:
            series = [
                one
                for model, style in (("teacher", TEACHER), ("student", STUDENT))
                for one in curve(_of(run, name, model), key, model, style, markers=True)
            ]
            charts.append(Chart(f"{key}-{number}", f"{title} on {name}", unit, series, marks))
    variances = [
        *curve(lines, "target_variance", "targets", TEACHER),
        *curve(lines, "prediction_variance", "predictions", STUDENT),
    ]
    charts.append(
        Chart("variances", "Variance over predicted frames", "variance", variances, marks)
    )
    dead = curve(percent(lines, "dead_share"), "percent", "dead frames", OTHERS[1])
    title = "Frames that say nothing of their own"
    charts.append(Chart("dead", title, "of frames, %", dead, marks, True))
    return [chart for chart in charts if chart.series]


def half_life_chart(run: Run, marks: Marks = ()) -> list[Chart]:
    """The half-life that the rule gave the average, where it changed."""
    series = curve(run.training, "half_life_hours", "half-life", TEACHER)
    if not series or len(set(series[0].values)) < 2:
        return []
    return [Chart("half-life", "Half-life of the average", "hours of audio", series, marks)]


def _of(run: Run, name: str, model: str) -> Sequence[dict[str, Any]]:
    return [e for e in run.evaluations if e["set"] == name and e.get("model") == model]
