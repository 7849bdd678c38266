"""The audit's figure: learning curves by kappa, one panel a rule, all on the same axes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from asr.planning.audit.metrics import METRICS, Cell, Curve

_COLOURS = ("#1b1b1b", "#2f81c7", "#13917f", "#cf6a12", "#8b5cf6", "#d43f8d")
_DASHES = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)), "-")
_TITLES = {
    "full": "full rule",
    "optimizer_only": "optimizer only (teacher not scaled)",
    "none": "no scaling",
}


def draw(
    curves: Mapping[Cell, Mapping[str, Curve]], metrics: Sequence[str], from_hours: float = 0.0
) -> str:
    """An SVG on white: rows are metrics, columns rules; mean over seeds, band of kappa = 1's seeds.

    What lies before `from_hours` is shared by a seed's cells and left out. Empty where no cell has a curve
    of these metrics.
    """
    curves = {
        cell: {
            name: [(hours, value) for hours, value in curve if hours >= from_hours * (1 - 1e-9)]
            for name, curve in its.items()
        }
        for cell, its in curves.items()
    }
    import matplotlib
    from matplotlib.figure import Figure

    shown = [m for m in METRICS if m.name in metrics and any(m.name in c for c in curves.values())]
    rules = list(dict.fromkeys(c.rule for c in sorted(curves) if c.kappa != 1)) or ["full"]
    rules.sort(key=lambda rule: list(_TITLES).index(rule))
    if not shown:
        return ""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "asr", "font.size": 10}):
        figure = Figure(figsize=(4.2 * len(rules), 3.3 * len(shown)), layout="constrained")
        grid = figure.subplots(len(shown), len(rules), sharex=True, sharey="row", squeeze=False)
        for row, metric in zip(grid, shown, strict=True):
            row[0].set_ylabel(f"{metric.title}, {metric.unit}")
            for axes, rule in zip(row, rules, strict=True):
                _panel(axes, curves, metric.name, rule)
        for axes, rule in zip(grid[0], rules, strict=True):
            axes.set_title(_TITLES[rule], fontsize=10.5)
        for axes in grid[-1]:
            axes.set_xlabel("hours of audio")
        grid[0][0].legend(frameon=False, fontsize=9)
        stream = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", facecolor="white", metadata=no_metadata)
    return stream.getvalue()


def _panel(axes: Any, curves: Mapping[Cell, Mapping[str, Curve]], metric: str, rule: str) -> None:
    kappas = sorted({cell.kappa for cell in curves}, key=lambda kappa: (kappa != 1, kappa))
    for number, kappa in enumerate(kappas):
        runs = [
            curves[cell][metric]
            for cell in sorted(curves)
            if cell.kappa == kappa and metric in curves[cell] and (kappa == 1 or cell.rule == rule)
        ]
        if not runs:
            continue
        if not all(runs):
            continue
        hours = np.array([h for h, _ in runs[0]])
        values = np.array([np.interp(hours, *np.array(run).T) for run in runs])
        if kappa == 1:
            low, high = values.min(axis=0), values.max(axis=0)
            axes.fill_between(hours, low, high, color=_COLOURS[0], alpha=0.15, linewidth=0)
        axes.plot(
            hours,
            values.mean(axis=0),
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_DASHES[number % len(_DASHES)],
            label=f"kappa {kappa:g}" + (" (band: seeds)" if kappa == 1 else ""),
            linewidth=1.8,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.2)
