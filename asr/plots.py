"""The curves of training runs, as inline SVG.

Text and axes take the page's colour, so that a chart reads on light and dark.

Drawn by matplotlib, deterministic (fixed hash salt, no date), with a title and a description for
screen readers. Series differ by colour, dashes and marker; a colour has at least 3:1 contrast on
white and on near-black.
"""

from __future__ import annotations

import html
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_INK = "#010203"  # drawn as such, then replaced by currentColor
_WIDTH_INCHES, _HEIGHT_INCHES = 5.6, 3.6
_LOG_FROM_RATIO = 5.0


@dataclass(frozen=True)
class Style:
    """How a series is drawn."""

    colour: str
    dashes: str | tuple[int, tuple[float, ...]] = "-"
    marker: str = ""


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


@dataclass(frozen=True)
class Series:
    """A curve: values against hours of audio, in increasing hours."""

    label: str
    hours: Sequence[float]
    values: Sequence[float]
    style: Style
    markers: bool = False
    """Draw the single points: evaluations, not every step of training."""


@dataclass(frozen=True)
class Chart:
    """A line chart of one quantity against hours of audio."""

    name: str
    """Prefix of the SVG's ids; unique on the page."""
    title: str
    y_label: str
    series: Sequence[Series]
    mark_hours: float | None = None
    """Where a vertical line marks the start of pseudo-labelling."""
    zero_based: bool = False
    """The axis begins at 0 and is linear; otherwise a wide range is drawn on a logarithmic one."""
    most_points: int = 200
    """More points are averaged down to these: a long run makes no heavy page, a noisy one no blot."""


@dataclass
class Run:
    """What metrics.jsonl says, in the order of the audio consumed."""

    training: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    unreadable_lines: int = 0
    """Lines that are no JSON object with step and hours: a run may be killed while it writes one."""

    @property
    def labelling(self) -> list[dict[str, Any]]:
        """Training lines whose batch held pseudo-labelled audio."""
        return [line for line in self.training if (line.get("pseudo_labelled_share") or 0) > 0]


def read_run(folder: Path) -> Run:
    """Read FOLDER/metrics.jsonl; an empty run where there is none.

    A resumed run repeats the steps after its checkpoint: the last line of a step counts.
    """
    run = Run()
    training: dict[Any, dict[str, Any]] = {}
    evaluations: dict[Any, dict[str, Any]] = {}
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in filter(str.strip, text.split("\n")):
        try:
            record = json.loads(line)
            step, hours = record["step"], record["hours"]
        except (ValueError, KeyError, TypeError):
            run.unreadable_lines += 1
            continue
        if not _is_number(hours):
            run.unreadable_lines += 1
        elif "wer" in record and "set" in record:
            evaluations[step, record["set"], record.get("model")] = record
        else:
            training[step] = record
    run.training = sorted(training.values(), key=lambda record: record["hours"])
    run.evaluations = sorted(evaluations.values(), key=lambda record: record["hours"])
    return run


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def curve(
    lines: Sequence[Mapping[str, Any]], key: str, label: str, style: Style, markers: bool = False
) -> list[Series]:
    """The curve of `key`, in a list; an empty list where no line has a finite number for it."""
    points = [(line["hours"], line[key]) for line in lines if _is_number(line.get(key))]
    if not points:
        return []
    hours, values = zip(*points, strict=True)
    return [Series(label, hours, values, style, markers)]


def learning_charts(main: Run, baseline: Run, start_hours: float | None) -> list[Chart]:
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
                chart = Chart(f"{unit}-{number}", title, f"{unit.upper()}, %", series, start_hours)
                charts.append(chart)
    return charts


def _evaluations(run: Run, name: str, model: str) -> list[dict[str, Any]]:
    return [e for e in run.evaluations if e["set"] == name and e.get("model") == model]


def loss_chart(main: Run, baseline: Run, start_hours: float | None) -> list[Chart]:
    """The loss by kind of audio; an empty list where nothing was logged."""
    series = [
        *curve(main.training, "loss_labelled", "labelled", STUDENT),
        *curve(main.training, "loss_pseudo_labelled", "pseudo-labelled", TEACHER),
        *curve(baseline.training, "loss_labelled", "supervised", SUPERVISED),
    ] or curve(main.training, "loss", "loss", STUDENT)
    return [Chart("loss", "Training loss", "loss", series, start_hours)] if series else []


def pseudo_label_charts(run: Run) -> list[Chart]:
    """Error rates of the labels, how much is used and empty, and what was dropped and why."""
    lines = run.labelling
    quality = [
        *curve(lines, "pseudo_label_wer", "WER", TEACHER),
        *curve(lines, "pseudo_label_cer", "CER", STUDENT),
    ]
    shares = [
        *curve(_percent(lines, "pseudo_labelled_share"), "percent", "of audio", OTHERS[0]),
        *curve(_percent(lines, "pseudo_label_empty_share"), "percent", "empty labels", OTHERS[1]),
    ]
    ratio = curve(lines, "pseudo_label_length_ratio", "length ratio", OTHERS[0])
    dropped = [
        one
        for reason, style in zip(dropped_labels(run), OTHERS * 4, strict=False)
        for one in curve(_dropped(lines, reason), "count", reason.replace("_", " "), style)
    ]
    charts = (
        Chart("label-errors", "Errors in the pseudo-labels", "error rate, %", quality),
        Chart("label-share", "Pseudo-labelled audio; empty labels", "share, %", shares, None, True),
        Chart("label-ratio", "Length against transcripts", "tokens/s, ratio", ratio, None, True),
        Chart(
            "label-dropped",
            "Labels dropped, by reason",
            "labels per update",
            dropped,
            None,
            True,
            60,
        ),
    )
    return [chart for chart in charts if chart.series]


def dropped_labels(run: Run) -> dict[str, int]:
    """Dropped labels by reason, summed over the logged updates; the commonest reason first."""
    totals: dict[str, int] = {}
    for line in run.training:
        for reason, count in (line.get("pseudo_labels_dropped") or {}).items():
            totals[reason] = totals.get(reason, 0) + int(count)
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def _dropped(lines: Sequence[Mapping[str, Any]], reason: str) -> list[dict[str, Any]]:
    """A reason that a line leaves out has no label."""
    return [
        {"hours": line["hours"], "count": (line.get("pseudo_labels_dropped") or {}).get(reason, 0)}
        for line in lines
    ]


def _percent(lines: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    known = [line for line in lines if _is_number(line.get(key))]
    return [{"hours": line["hours"], "percent": 100.0 * line[key]} for line in known]


def render(chart: Chart) -> str:
    """The chart as an `<svg>` element."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "asr",
        "font.family": "sans-serif",
        "font.size": 11.5,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        _draw(axes, chart)
        stream = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=no_metadata)
    return _inline(stream.getvalue(), chart)


def _draw(axes: Any, chart: Chart) -> None:
    for series in chart.series:
        hours, values = _thinned(series.hours, series.values, chart.most_points)
        axes.plot(
            hours,
            values,
            label=series.label,
            color=series.style.colour,
            linestyle=series.style.dashes,
            linewidth=2.2,
            marker=series.style.marker if series.markers else "",
            markersize=5,
            markevery=max(1, len(hours) // 12),
        )
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_INK, alpha=0.14, linewidth=0.8)
    axes.set_xlabel("hours of audio consumed")
    axes.margins(x=0.02)
    first, last = min(s.hours[0] for s in chart.series), max(s.hours[-1] for s in chart.series)
    if first < 0.4 * last:  # not where the run was forked from one that is already long
        axes.set_xlim(left=0)
    logarithmic = not chart.zero_based and _is_wide(chart.series)
    axes.set_ylabel(f"{chart.y_label}, log scale" if logarithmic else chart.y_label)
    if logarithmic:
        _logarithmic(axes)
    elif chart.zero_based:
        axes.set_ylim(0, 1.1 * max(max(s.values) for s in chart.series) or 1.0)
    if chart.mark_hours is not None:
        _mark(axes, chart.mark_hours)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=2,
        frameon=False,
        handlelength=3.2,
        borderaxespad=0.2,
    )


def _mark(axes: Any, hours: float) -> None:
    axes.axvline(hours, color=_INK, alpha=0.55, linewidth=1.2, linestyle=(0, (2, 3)))
    left, right = axes.get_xlim()
    late = hours > left + 0.55 * (right - left)
    axes.annotate(
        "pseudo-labels from here",
        (hours, 0.985),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if late else 5, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        fontsize=10,
    )


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _is_wide(series: Sequence[Series]) -> bool:
    values = [v for s in series for v in s.values if math.isfinite(v)]
    return bool(values) and min(values) > 0 and max(values) > _LOG_FROM_RATIO * min(values)


def _thinned(
    hours: Sequence[float], values: Sequence[float], most: int
) -> tuple[list[float], list[float]]:
    """Means of equal runs of points."""
    run = max(1, math.ceil(len(values) / most))
    starts = range(0, len(values), run)
    return (
        [_mean(hours[start : start + run]) for start in starts],
        [_mean(values[start : start + run]) for start in starts],
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _inline(svg: str, chart: Chart) -> str:
    """Strip what a page does not want, and make ids unique: a page has one name space."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)  # would style the whole page
    svg = re.sub(r'\bid="', f'id="{chart.name}-', svg)
    svg = re.sub(r'href="#', f'href="#{chart.name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{chart.name}-", svg)
    svg = svg.replace(_INK, "currentColor")
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    last = "; ".join(
        f"{s.label}: {s.values[-1]:.3g} at {s.hours[-1]:.3g} hours"
        for s in chart.series
        if s.values
    )
    labels = f"{chart.name}-title {chart.name}-description"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view_box.group()} role="img" aria-labelledby="{labels}">'
        f'<title id="{chart.name}-title">{html.escape(chart.title)}</title>'
        f'<desc id="{chart.name}-description">{html.escape(chart.y_label)} against hours of audio. '
        f"Last values: {html.escape(last)}.</desc>"
    )
    return re.sub(r"^<svg[^>]*>", lambda _: opening, svg).strip()
