"""Which of an audit's cells have collapsed: what they predict is easy then, and a loss near 0 no success."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from asr.config.objective import CollapseConfig
from asr.planning.audit.metrics import Cell
from asr.tracking.run_reader import Run
from asr.tracking.shapes import is_number


@dataclass(frozen=True)
class Collapsed:
    """Cells by when the representations that they predict were collapsed."""

    at_end: Collection[Cell] = ()
    """At the last evaluation."""
    ever: Collection[Cell] = ()
    """At any evaluation that is compared."""


def find_collapsed(
    runs: Mapping[Cell, Run], policy: CollapseConfig, from_hours: float = 0.0
) -> Collapsed:
    """Of finished cells without texts: by the bounds at which the recipe's own alarm goes off.

    What lies before `from_hours` or within the recipe's grace is left out.
    """
    hours = {cell: _collapsed_hours(run, policy) for cell, run in runs.items()}
    first = max(from_hours, policy.grace_hours)
    ends = {
        cell: max((e["hours"] for e in run.evaluations), default=0) for cell, run in runs.items()
    }
    return Collapsed(
        {cell for cell, found in hours.items() if ends[cell] in found},
        {cell for cell, found in hours.items() if any(hour > first for hour in found)},
    )


def _collapsed_hours(run: Run, policy: CollapseConfig) -> set[float]:
    """When the average was, by any dev set. A sign that is missing or no number is one, too."""
    found = set()
    for line in run.evaluations:
        if line.get("model") != "teacher" or "effective_rank" not in line:
            continue
        is_sound = (
            _number(line, "effective_rank") >= policy.min_effective_rank
            and _number(line, "target_variance") >= policy.min_target_variance
            and _number(line, "dead_share") <= policy.max_dead_share
        )
        if not is_sound:
            found.add(line["hours"])
    return found


def _number(line: Mapping[str, Any], name: str) -> float:
    """NaN, which is within no bound, where it is none."""
    value = line.get(name)
    return float(value) if is_number(value) else math.nan
