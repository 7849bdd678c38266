"""What an audit's curves say: how far each run is from kappa = 1, in units of the spread between seeds.

For a metric, c(run, h) is a run's curve at hours h of audio, m(h) the mean of kappa = 1's curves:

    spread   = root mean square of c(run, h) - m(h) over the S runs at kappa = 1 and over h, with S - 1
    distance = root mean square of c(run, h) - m(h) over the runs of a cell's kappa and rule, and over h

A run from the same distribution as those at kappa = 1 has distance = spread x sqrt(1 + 1/S) on average,
since m is itself a mean of S runs: 1.15 for three seeds. The same two metrics at the last hour alone
compare the final values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.tracking.run_reader import Run, is_number

Curve = list[tuple[float, float]]
"""(hours, value), hours ascending."""


@dataclass(frozen=True)
class Metric:
    """A quantity that is compared."""

    name: str
    title: str
    unit: str


METRICS = (
    Metric("teacher_wer", "dev WER, teacher", "%"),
    Metric("teacher_cer", "dev CER, teacher", "%"),
    Metric("teacher_dev_loss", "dev loss, teacher", "nats/s"),
    Metric("student_wer", "dev WER, student", "%"),
    Metric("student_cer", "dev CER, student", "%"),
    Metric("student_dev_loss", "dev loss, student", "nats/s"),
    Metric("pseudo_label_wer", "pseudo-label WER", "%"),
    Metric("teacher_student_distance", "teacher-student distance", "of the student's norm"),
)


@dataclass(frozen=True, order=True)
class Cell:
    """One run of an audit."""

    kappa: float
    rule: str
    seed: int

    @property
    def name(self) -> str:
        return f"kappa{self.kappa:g}_{self.rule}_seed{self.seed}"


@dataclass(frozen=True)
class Distance:
    """A kappa and rule against kappa = 1, in one metric."""

    kappa: float
    rule: str
    metric: str
    final: float
    """Mean over the seeds at the last hour."""
    final_reference: float
    final_spread: float
    """Standard deviation over the seeds of kappa = 1 at the last hour."""
    final_in_spreads: float | None
    """(final - final_reference) over final_spread; None without a spread."""
    curve: float
    """The distance of the whole curves, in the metric's unit."""
    curve_spread: float
    curve_in_spreads: float | None


def curves_of(run: Run) -> dict[str, Curve]:
    """The curves of an audit's metrics, the mean over several dev sets; metrics without a value left out."""
    curves: dict[str, dict[float, list[float]]] = {metric.name: {} for metric in METRICS}

    def add(metric: str, hours: float, value: Any) -> None:
        if is_number(value):
            curves[metric].setdefault(hours, []).append(float(value))

    for line in run.evaluations:
        for quantity in ("wer", "cer", "dev_loss"):
            add(f"{line['model']}_{quantity}", line["hours"], line.get(quantity))
        add("teacher_student_distance", line["hours"], line.get("teacher_student_distance"))
    for line in run.with_pseudo_labels:
        add("pseudo_label_wer", line["hours"], line.get("pseudo_label_wer"))
    return {
        metric: [(hours, math.fsum(v) / len(v)) for hours, v in sorted(points.items())]
        for metric, points in curves.items()
        if points
    }


def compare(
    curves: Mapping[Cell, Mapping[str, Curve]],
    total_hours: float,
    every_hours: float,
    from_hours: float = 0.0,
) -> list[Distance]:
    """Each kappa and rule against kappa = 1, metric by metric; those that kappa = 1 has.

    Curves are read off, linearly, at the multiples of `every_hours` up to `total_hours`: batches end
    at other moments for another kappa. What lies before `from_hours` is shared by a seed's cells and left out.
    """
    count = max(1, round(total_hours / every_hours))
    grid = np.linspace(total_hours / count, total_hours, count)
    grid = grid[grid > from_hours * (1 + 1e-9)]
    settings = dict.fromkeys((cell.kappa, cell.rule) for cell in sorted(curves))
    found = []
    for metric in METRICS:
        reference = _sampled(curves, 1.0, None, metric.name, grid)
        if not len(reference):
            continue
        for kappa, rule in settings:
            runs = _sampled(curves, kappa, rule, metric.name, grid)
            if len(runs):
                found.append(_distance(kappa, rule, metric.name, runs, reference))
    return found


def _sampled(
    curves: Mapping[Cell, Mapping[str, Curve]],
    kappa: float,
    rule: str | None,
    metric: str,
    grid: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Curves (runs, grid) of a setting (rule None: of any); NaN before a curve begins."""
    rows = []
    for cell, metrics in sorted(curves.items()):
        if cell.kappa == kappa and rule in (None, cell.rule) and metric in metrics:
            hours, values = zip(*metrics[metric], strict=True)
            rows.append(np.interp(grid, hours, values, left=np.nan))
    return np.array(rows)


def _distance(
    kappa: float,
    rule: str,
    metric: str,
    runs: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> Distance:
    common = np.isfinite(runs).all(axis=0) & np.isfinite(reference).all(axis=0)
    seeds = len(reference)
    mean = reference.mean(axis=0)
    factor = math.sqrt(seeds / (seeds - 1)) if seeds > 1 else math.nan
    curve, curve_spread = (_rms((rows - mean)[:, common]) for rows in (runs, reference))
    curve_spread *= factor
    final, final_reference = float(runs[:, -1].mean()), float(mean[-1])
    final_spread = factor * _rms(reference[:, -1] - mean[-1])
    return Distance(
        kappa,
        rule,
        metric,
        final,
        final_reference,
        final_spread,
        _ratio(final - final_reference, final_spread),
        curve,
        curve_spread,
        _ratio(curve, curve_spread),
    )


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else math.nan


def _ratio(numerator: float, spread: float) -> float | None:
    ratio = numerator / spread if spread > 0 else math.nan
    return ratio if math.isfinite(ratio) else None


def verdict(in_spreads: float | None) -> str:
    """A distance in words."""
    if in_spreads is None:
        return "no spread to compare with (give --seeds 2 or more)"
    size = abs(in_spreads)
    if size <= 1.0:
        return "within seed spread"
    return "within twice the seed spread" if size <= 2.0 else f"{size:.1f} seed spreads away"


def to_json(distances: Sequence[Distance]) -> list[dict[str, Any]]:
    """Rows with their verdicts; what is not a number is null."""
    rows = []
    for distance in distances:
        row = asdict(distance)
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                row[name] = None
        row["final_verdict"] = verdict(distance.final_in_spreads)
        row["curve_verdict"] = verdict(distance.curve_in_spreads)
        rows.append(row)
    return rows


def tables(distances: Sequence[Distance], metrics: Sequence[str]) -> str:
    """Markdown: for each metric a table of the rules over kappa."""
    titles = {metric.name: f"{metric.title} ({metric.unit})" for metric in METRICS}
    parts = []
    for metric in metrics:
        rows = [d for d in distances if d.metric == metric]
        if not rows:
            continue
        lines = [
            f"### {titles[metric]}",
            "",
            "| rule | kappa | at the end | against kappa = 1 | in seed spreads | whole curve, in seed "
            "spreads | verdict at the end |",
            "|---|---|---|---|---|---|---|",
        ]
        for d in sorted(rows, key=lambda d: (d.kappa != 1, d.rule != "full", d.rule, d.kappa)):
            name = "(any)" if d.kappa == 1 else d.rule
            difference = (
                "±" + _plain(d.final_spread)
                if d.kappa == 1
                else f"{d.final - d.final_reference:+.3g}"
            )
            lines.append(
                f"| {name} | {d.kappa:g} | {_plain(d.final)} | {difference} "
                f"| {_signed(d.final_in_spreads) if d.kappa != 1 else '-'} "
                f"| {_plain(d.curve_in_spreads) if d.kappa != 1 else '-'} "
                f"| {verdict(d.final_in_spreads) if d.kappa != 1 else 'the reference'} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _plain(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2g}"
