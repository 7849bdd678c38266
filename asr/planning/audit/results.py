"""An audit's files: audit.json, audit.md, audit.svg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from asr.planning.audit.metrics import METRICS, Cell, compare, curves_of, tables, to_json
from asr.planning.audit.plan import AuditPlan, cell_config
from asr.utils.files import write_json, write_text


def write_results(plan: AuditPlan, failed: Mapping[Cell, str]) -> str:
    """Write what the finished cells show; returns audit.md. `failed`: the last lines of the others."""
    from asr.planning.audit.plot import draw
    from asr.tracking.environment import environment
    from asr.tracking.run_reader import read_run

    finished = [cell for cell in plan.cells if (plan.folder(cell) / "complete.json").is_file()]
    curves = {cell: curves_of(read_run(plan.folder(cell))) for cell in finished}
    config = cell_config(plan, plan.cells[0])
    every_hours = config.trainer.evaluation_every_hours
    distances = compare(curves, plan.hours, every_hours, from_hours=plan.burn_in_hours)
    results: dict[str, Any] = {
        "recipe": plan.recipe,
        "overrides": plan.overrides,
        "hours": plan.hours,
        "burn_in_hours": plan.burn_in_hours,
        "reference_batch_seconds": config.scaling.reference_batch_seconds,
        "environment": environment(),
        "cells": [
            {**asdict(cell), "failed": failed.get(cell), "curves": curves.get(cell, {})}
            for cell in plan.cells
        ],
        "distances": to_json(distances),
    }
    write_json(plan.output / "audit.json", results)
    page = tables(distances, [metric.name for metric in METRICS])
    write_text(plan.output / "audit.md", page)
    shown = ["teacher_wer", "teacher_cer", "teacher_dev_loss"]
    drawing = draw(curves, shown, from_hours=plan.burn_in_hours)
    if drawing:
        write_text(plan.output / "audit.svg", drawing)
    return page
