"""An audit's files: audit.json, audit.md, audit.svg."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from asr.planning.audit.collapse import Collapsed, find_collapsed
from asr.planning.audit.comparisons import Comparison, Difference, MetricResult, compare
from asr.planning.audit.metrics import (
    METRICS,
    METRICS_WITHOUT_TEXTS,
    Cell,
    Metric,
    curves_of,
)
from asr.planning.audit.plan import PROGRESSIVE, AuditPlan, cell_config
from asr.planning.audit.probes import probe_curves
from asr.utils.files import write_json, write_text

_DRAWN = ("teacher_wer", "teacher_cer", "teacher_dev_loss", "teacher_effective_rank")
_HOW_TO_READ = """\
Each cell against kappa = 1 of the same seed: the mean difference, its 95 % interval by Student's t, and what
that says. *Equivalent*: within the margin on both sides, by two one-sided tests at 5 %. *Different*: not 0,
at 5 % after Holm's correction for the cells of the table. *Cannot tell*: neither; with so many seeds what is
equal would be found equivalent 4 times in 5, and what is off by the margin different, if the spread of these
seeds is the true one."""
_HOW_TO_READ_COLLAPSE = """\
The loss is of predicting what each run's own average says, under masks that are the same in all runs.
*Collapsed*: by the bounds of the recipe's own alarm (`health`) the average's representations were all alike
with so many seeds, at the last evaluation or, for the curve, at any. Such a loss is near 0 and says nothing:
those seeds are in no other figure."""


def write_results(
    plan: AuditPlan, failed: Mapping[Cell, str], margins: Mapping[str, float] | None = None
) -> str:
    """Write what the finished cells show; returns audit.md. `failed`: the last lines of the others."""
    from asr.planning.audit.plot import draw
    from asr.tracking.environment import environment
    from asr.tracking.run_reader import read_run

    finished = [cell for cell in plan.cells if (plan.folder(cell) / "complete.json").is_file()]
    runs = {cell: read_run(plan.folder(cell)) for cell in finished}
    probes = probe_curves({cell: plan.folder(cell) for cell in finished}, plan.hours)
    curves = {cell: curves_of(run) | probes[cell] for cell, run in runs.items()}
    config = cell_config(plan, plan.cells[0])
    every_hours = config.trainer.evaluation_every_hours
    metrics: Sequence[Metric] = METRICS
    collapsed = Collapsed()
    if not config.objective.has_texts:
        metrics = METRICS_WITHOUT_TEXTS
        collapsed = find_collapsed(runs, config.objective.policy.health, plan.burn_in_hours)
    found = compare(
        curves, plan.hours, every_hours, plan.burn_in_hours, margins, metrics, collapsed
    )
    results: dict[str, Any] = {
        "recipe": plan.recipe,
        "overrides": plan.overrides,
        "hours": plan.hours,
        "burn_in_hours": plan.burn_in_hours,
        "reference_batch_seconds": config.scaling.reference_batch_seconds,
        "environment": environment(),
        "cells": [
            {
                **asdict(cell),
                "failed": failed.get(cell),
                "collapsed": cell in collapsed.ever,
                "curves": curves.get(cell, {}),
            }
            for cell in plan.cells
        ],
        "metrics": to_json(found),
    }
    write_json(plan.output / "audit.json", results)
    lost = sum(cell.kappa == 1 for cell in collapsed.ever)
    page = "\n".join(summary(found, len(failed), lost)) + "\n\n" + tables(found)
    write_text(plan.output / "audit.md", page)
    drawing = draw(curves, [r for r in found if r.metric.name in _DRAWN], plan.burn_in_hours)
    if drawing:
        write_text(plan.output / "audit.svg", drawing)
    return page


def to_json(results: Sequence[MetricResult]) -> list[dict[str, Any]]:
    """A row a metric, with its margin and its comparisons, and what each says in words."""
    rows = [asdict(result) for result in results]
    for row, result in zip(rows, results, strict=True):
        for cell, comparison in zip(row["comparisons"], result.comparisons, strict=True):
            cell["end"]["words"] = comparison.end.words
            cell["curve"]["words"] = comparison.curve.words
    return rows


def summary(
    results: Sequence[MetricResult], failed: int, collapsed_references: int = 0
) -> list[str]:
    """Three lines: what the rule keeps, what changes without it, and how much of all can be told."""
    if not results:
        what = "no finished cell at kappa = 1"
        if collapsed_references:
            what = f"kappa = 1 has collapsed with all of its {collapsed_references} seeds"
        return [f"Nothing can be compared: {what}; {failed} cells failed."]
    first = results[0]
    size = (
        ""
        if first.margin.size is None
        else f" within ±{first.margin.size:.3g} {_unit(first.metric)}"
    )
    groups = {
        "With the rule": ("full", PROGRESSIVE),
        "Without it": tuple({c.rule for c in first.comparisons} - {"full", PROGRESSIVE}),
    }
    lines = [
        f"**{name}** ({first.metric.title}, at the end, against kappa = 1{size}): {_said(first, rules)}."
        for name, rules in groups.items()
    ]
    cells = [
        c for result in results for c in result.comparisons if c.rule in groups["With the rule"]
    ]
    counts = Counter(c.end.verdict for c in cells)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    seeds = max(
        (c.end.seeds_needed or 0 for c in cells if c.end.verdict == "cannot tell"), default=0
    )
    more = f"; {seeds:,} seeds would tell all" if seeds else ""
    lost = f"; {failed} cells failed" if failed else ""
    return [
        *lines,
        f"**With the rule, over all metrics** ({len(results)}): {told or 'no cell'}{more}{lost}.",
    ]


def _said(result: MetricResult, rules: Sequence[str]) -> str:
    """Verdicts of these rules' cells, with their kappas."""
    by_verdict: dict[str, list[str]] = {}
    for one in sorted((c for c in result.comparisons if c.rule in rules), key=_order):
        rule = "" if one.rule in ("full", "none") else f" ({one.rule})"
        size = f" by {one.end.mean:+.3g}" if one.end.verdict == "different" else ""
        by_verdict.setdefault(one.end.verdict, []).append(f"{one.kappa:g}{rule}{size}")
    said = [f"{verdict} at kappa {', '.join(kappas)}" for verdict, kappas in by_verdict.items()]
    return "; ".join(said) or "no cell was run"


def tables(results: Sequence[MetricResult]) -> str:
    """Markdown: for each metric its margin, and a table of the rules over kappa."""
    is_without_texts = any(result.metric in METRICS_WITHOUT_TEXTS[:-1] for result in results)
    how = [_HOW_TO_READ, *([_HOW_TO_READ_COLLAPSE] if is_without_texts else [])]
    return "\n\n".join([*how, *(_table(result) for result in results)]) + "\n"


def _table(result: MetricResult) -> str:
    metric, margin = result.metric, result.margin
    size = "none" if margin.size is None else f"±{margin.size:.3g} {_unit(metric)}"
    spread = "" if result.reference_deviation is None else f" ± {result.reference_deviation:.2g}"
    lost = result.reference_collapsed
    which = "the reference" + (f"; {lost} more have collapsed" if lost else "")
    lines = [
        f"### {metric.title} ({metric.unit})",
        "",
        f"Margin: {size} ({margin.source}).",
        "",
        "| rule | kappa | seeds | at the end | less kappa = 1 [95 %] | | mean of the curve, less kappa = 1 "
        "[95 %] | |",
        "|---|---|---|---|---|---|---|---|",
        f"| (any) | 1 | {result.reference_seeds} | {result.reference:.3g}{spread} | {which} | | | |",
    ]
    for c in sorted(result.comparisons, key=_order):
        final = "-" if c.final is None else f"{c.final:.3g}"
        kappa = f"1 to {c.kappa:g}" if c.rule == PROGRESSIVE else f"{c.kappa:g}"
        lines.append(
            f"| {c.rule} | {kappa} | {c.end.seeds} | {final} | {_interval(c.end)} | {c.end.words} "
            f"| {_interval(c.curve)} | {c.curve.words} |"
        )
    return "\n".join(lines)


def _order(comparison: Comparison) -> tuple[bool, bool, str, float]:
    rule = comparison.rule
    return rule != "full", rule != PROGRESSIVE, rule, comparison.kappa


def _unit(metric: Metric) -> str:
    return "points" if metric.unit == "%" else metric.unit


def _interval(difference: Difference) -> str:
    if difference.mean is None:
        return "-"
    if difference.low is None or difference.high is None:
        return f"{difference.mean:+.3g}"
    decimals = _decimals(difference.high - difference.low)
    mean, low, high = (
        f"{value:+.{decimals}f}" for value in (difference.mean, difference.low, difference.high)
    )
    return f"{mean} [{low}, {high}]"


def _decimals(width: float) -> int:
    """So many that an interval of this width is told to a few percent of it."""
    return 3 if width <= 0 else min(6, max(0, 1 - math.floor(math.log10(width))))
