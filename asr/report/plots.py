"""Line charts against hours of audio, drawn as inline SVG.

Text and axes take the page's colour, so that a chart reads on light and dark.

Drawn by matplotlib, deterministic (fixed hash salt, no date), with a title and a description for
screen readers. Series differ by colour, dashes and marker; a colour has at least 3:1 contrast on
white and on near-black.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

INK = "#010203"
"""Drawn as such, then replaced by currentColor."""
_WIDTH_INCHES, _HEIGHT_INCHES = 5.6, 3.6
_LOG_FROM_RATIO = 5.0
_SHORT_LABEL = 22
_MARK_LINES = 4
"""Texts of neighbouring marks stand below each other."""


@dataclass(frozen=True)
class Style:
    """How a series is drawn."""

    colour: str
    dashes: str | tuple[int, tuple[float, ...]] = "-"
    marker: str = ""


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
    """A line chart of one quantity against hours of audio, or against another one in hours."""

    name: str
    """Prefix of the SVG's ids; unique on the page."""
    title: str
    y_label: str
    series: Sequence[Series]
    marks: Sequence[tuple[float, str]] = ()
    """Hours at which something changes, and what: vertical lines."""
    zero_based: bool = False
    """The axis begins at 0 and is linear; otherwise a wide range is drawn on a logarithmic one."""
    most_points: int = 200
    """More points are averaged down to these: a long run makes no heavy page, a noisy one no blot."""
    x_label: str = "hours of audio consumed"
    is_x_logarithmic: bool = False


def render(chart: Chart) -> str:
    """The chart as an `<svg>` element."""
    last = "; ".join(
        f"{s.label}: {s.values[-1]:.3g} at {s.hours[-1]:.3g} hours"
        for s in chart.series
        if s.values
    )
    description = f"{chart.y_label} against {chart.x_label}. Last values: {last}."
    with figure_of(_WIDTH_INCHES, _HEIGHT_INCHES) as figure:
        _draw(figure.add_subplot(), chart)
        return svg_of(figure, chart.name, chart.title, description)


@contextmanager
def figure_of(width_inches: float, height_inches: float) -> Iterator[Any]:
    """A figure in the page's style, to be drawn and passed to `svg_of` within the block."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "asr",
        "font.family": "sans-serif",
        "font.size": 11.5,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        figure.patch.set_visible(False)
        yield figure


def svg_of(figure: Any, name: str, title: str, description: str) -> str:
    """The figure as an `<svg>` element; `name`, unique on the page, begins its ids."""
    stream = io.StringIO()
    # The page's reader draws the text with fonts of his own: those that are missing here do not matter.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=no_metadata)
    return _inline(stream.getvalue(), name, title, description)


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: no mathematics between dollar signs, no hidden legend entry."""
    return re.sub(r"^_", " _", text).replace("$", r"\$")


def _draw(axes: Any, chart: Chart) -> None:
    for series in chart.series:
        hours, values = _thinned(series.hours, series.values, chart.most_points)
        axes.plot(
            hours,
            values,
            label=plain(series.label),
            color=series.style.colour,
            linestyle=series.style.dashes,
            linewidth=2.2,
            marker=series.style.marker if series.markers else "",
            markersize=5,
            markevery=max(1, len(hours) // 12),
        )
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=INK, alpha=0.14, linewidth=0.8)
    axes.set_xlabel(chart.x_label)
    axes.margins(x=0.02)
    first, last = min(s.hours[0] for s in chart.series), max(s.hours[-1] for s in chart.series)
    if chart.is_x_logarithmic:
        _logarithmic(axes.xaxis, axes.set_xscale)
    elif first < 0.4 * last:  # not where the run was forked from one that is already long
        axes.set_xlim(left=0)
    logarithmic = not chart.zero_based and _is_wide(chart.series)
    axes.set_ylabel(f"{chart.y_label}, log scale" if logarithmic else chart.y_label)
    if logarithmic:
        _logarithmic(axes.yaxis, axes.set_yscale)
    elif chart.zero_based:
        axes.set_ylim(0, 1.1 * max(max(s.values) for s in chart.series) or 1.0)
    left, right = axes.get_xlim()
    seen = [mark for mark in sorted(chart.marks) if left <= mark[0] <= right]
    for number, (place, text) in enumerate(seen):
        _mark(axes, place, text, number % _MARK_LINES)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=2 if all(len(series.label) <= _SHORT_LABEL for series in chart.series) else 1,
        frameon=False,
        handlelength=3.2,
        borderaxespad=0.2,
    )


def _mark(axes: Any, hours: float, text: str, line: int) -> None:
    axes.axvline(hours, color=INK, alpha=0.55, linewidth=1.2, linestyle=(0, (2, 3)))
    left, right = axes.get_xlim()
    late = hours > left + 0.55 * (right - left)
    axes.annotate(
        plain(text),
        (hours, 0.985 - 0.065 * line),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if late else 5, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        fontsize=10,
    )


def _logarithmic(axis: Any, set_scale: Callable[[str], None]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


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


def _inline(svg: str, name: str, title: str, description: str) -> str:
    """Strip what a page does not want, and make ids unique: a page has one name space."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)  # would style the whole page
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = svg.replace(INK, "currentColor")
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view_box.group()} role="img" aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-description">{html.escape(description)}</desc>'
    )
    return re.sub(r"^<svg[^>]*>", lambda _: opening, svg).strip()
