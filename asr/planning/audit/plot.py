"""The audit's figure: learning curves by kappa, one panel a rule, all on the same axes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.planning.audit.comparisons import MetricResult
from asr.planning.audit.metrics import Cell, Curve

_COLOURS = ("#1b1b1b", "#2f81c7", "#13917f", "#cf6a12", "#8b5cf6", "#d43f8d")
_DASHES = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)), "-")
_TITLES = {
    "full": "full rule",
    "progressive": "full rule, grown step by step",
    "optimizer_only": "optimizer only (teacher not scaled)",
    "none": "no scaling",
}


def draw(
    curves: Mapping[Cell, Mapping[str, Curve]],
    results: Sequence[MetricResult],
    from_hours: float = 0.0,
) -> str:
    """An SVG on white: rows are metrics, columns rules. Empty without results.

    A line is kappa = 1's mean over its seeds plus the mean paired difference over a cell's, so that it lies as
    far from kappa = 1 as its own seeds do, also where it has fewer. The band is the margin around kappa = 1;
    the bars at the end are the 95 % intervals: one that stays within the band of a stated margin is
    equivalent. What lies before `from_hours` is left out.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not results:
        return ""
    rules = list(dict.fromkeys(c.rule for c in results[0].comparisons)) or ["full"]
    rules.sort(key=lambda rule: list(_TITLES).index(rule))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "asr", "font.size": 10}):
        figure = Figure(figsize=(4.2 * len(rules), 3.3 * len(results)), layout="constrained")
        grid = figure.subplots(len(results), len(rules), sharex=True, sharey="row", squeeze=False)
        for row, result in zip(grid, results, strict=True):
            row[0].set_ylabel(f"{result.metric.title}, {result.metric.unit}")
            for axes, rule in zip(row, rules, strict=True):
                _panel(axes, curves, result, rule, from_hours)
        for axes, rule in zip(grid[0], rules, strict=True):
            axes.set_title(_TITLES[rule], fontsize=10.5)
            axes.legend(frameon=False, fontsize=9)
        for axes in grid[-1]:
            axes.set_xlabel("hours of audio")
        stream = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", facecolor="white", metadata=no_metadata)
    return stream.getvalue()


def line_of(
    hours: NDArray[np.float64],
    at_1: Mapping[int, NDArray[np.float64]],
    curves: Mapping[int, NDArray[np.float64]],
) -> NDArray[np.float64] | None:
    """A cell's line at some hours, by the seeds that kappa = 1 has; None where it has none of them.

    `at_1` are kappa = 1's values by seed, `curves` the cell's, as (hours, values).
    """
    apart = [np.interp(hours, *c) - at_1[seed] for seed, c in curves.items() if seed in at_1]
    if not apart:
        return None
    line: NDArray[np.float64] = np.mean(list(at_1.values()), axis=0) + np.mean(apart, axis=0)
    return line


def _panel(
    axes: Any,
    curves: Mapping[Cell, Mapping[str, Curve]],
    result: MetricResult,
    rule: str,
    from_hours: float,
) -> None:
    name = result.metric.name
    of_setting: dict[tuple[float, str], dict[int, NDArray[np.float64]]] = {}
    for cell, its in sorted(curves.items()):
        if its.get(name):
            of_setting.setdefault((cell.kappa, cell.rule), {})[cell.seed] = np.array(its[name]).T
    reference = of_setting.get((1.0, "full"), {})
    if not reference:
        return
    hours = next(iter(reference.values()))[0]
    hours = hours[hours >= from_hours * (1 - 1e-9)]
    at_1 = {seed: np.interp(hours, *curve) for seed, curve in reference.items()}
    mean = np.mean(list(at_1.values()), axis=0)
    if result.margin.size is not None:
        band = mean - result.margin.size, mean + result.margin.size
        axes.fill_between(hours, *band, color=_COLOURS[0], alpha=0.12, linewidth=0, label="margin")
    axes.plot(hours, mean, color=_COLOURS[0], linestyle=_DASHES[0], label="kappa 1", linewidth=1.8)
    kappas = sorted({kappa for kappa, _ in of_setting if kappa != 1})
    ends = {c.kappa: c.end for c in result.comparisons if c.rule == rule}
    for number, kappa in enumerate(kappas, start=1):
        its_seeds = of_setting.get((kappa, rule), {})
        line = line_of(hours, at_1, its_seeds)
        if line is None:
            continue
        style = {"color": _COLOURS[number % len(_COLOURS)], "linewidth": 1.8}
        dashes = _DASHES[number % len(_DASHES)]
        axes.plot(hours, line, linestyle=dashes, label=f"kappa {kappa:g}", **style)
        end = ends[kappa]
        if end.low is not None and end.high is not None:
            place = hours[-1] + 0.012 * number * (hours[-1] - hours[0])
            axes.plot([place, place], [mean[-1] + end.low, mean[-1] + end.high], **style)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.2)
