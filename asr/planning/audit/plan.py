"""What an audit runs: a cell for each kappa, rule and seed, each a run of its own to the same hours of audio.

kappa = 1 is the same run under every rule, so it is run once a seed, and with every seed that any other cell
has: it is what they are paired with. A cell of the kind `progressive` grows to its kappa under the full rule:
1, 2, 4, ... for equal parts of the hours after the burn-in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.config.recipe import load_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.model.model_folder import pointed_at
from asr.planning.audit.metrics import Cell
from asr.scaling.rule import in_force
from asr.training.start.resolved import resolved

BURN_IN = "burn_in"
PROGRESSIVE = "progressive"
RULES = ("full", "optimizer_only", "none")


@dataclass(frozen=True)
class AuditPlan:
    """What is to be run."""

    recipe: str
    overrides: list[str]
    output: Path
    cells: list[Cell]
    hours: float
    burn_in_hours: float
    """Each seed's cells start from its checkpoint at kappa = 1 and these hours; 0 for from nothing."""
    reference_batch_seconds: float

    def cell_overrides(self, cell: Cell) -> list[str]:
        """The recipe's overrides, and what makes this cell."""
        rule = cell.rule if cell.rule in RULES else "full"
        if cell.rule == BURN_IN:
            hours, fork = self.burn_in_hours, "fork_from=null"
        else:
            hours, fork = self.hours, f"fork_from={self._burn_in(cell.seed)}"
        pieces = self.batch_schedule(cell)
        return [
            *self.overrides,
            *([fork] if self.burn_in_hours else []),
            *(["init_from=null"] if self.burn_in_hours and cell.rule != BURN_IN else []),
            f"name={cell.name}",
            f"output={self.folder(cell)}",
            f"seed={cell.seed}",
            f"scaling.rule={rule}",
            "batch.batch_seconds_per_rank=null",
            f"batch.batch_seconds={pieces[0][1] if len(pieces) == 1 else json.dumps(pieces)}",
            "trainer.total_passes=null",
            "trainer.early_stopping.patience_hours=null",
            f"trainer.total_hours={hours}",
            "trainer.keep_last=1",
        ]

    def batch_schedule(self, cell: Cell) -> list[tuple[float, float]]:
        """(from this hour on, seconds) of a cell's batches."""
        kappas = [cell.kappa]
        if cell.rule == PROGRESSIVE:
            kappas = [2.0**n for n in range(math.ceil(math.log2(cell.kappa)))] + kappas
        part = (self.hours - self.burn_in_hours) / len(kappas)
        return [
            (self.burn_in_hours + n * part if n else 0.0, kappa * self.reference_batch_seconds)
            for n, kappa in enumerate(kappas)
        ]

    def folder(self, cell: Cell) -> Path:
        return self.output / "cells" / cell.name

    @property
    def burn_ins(self) -> list[Cell]:
        """The cells that the others fork from."""
        seeds = dict.fromkeys(cell.seed for cell in self.cells)
        return [Cell(1.0, BURN_IN, seed) for seed in seeds] if self.burn_in_hours else []

    def _burn_in(self, seed: int) -> Path:
        """The checkpoint of a seed's burn-in; its `latest`, which does not move once it is complete."""
        folder = self.folder(Cell(1.0, BURN_IN, seed))
        if not (folder / "complete.json").is_file():
            return folder / "checkpoints"  # not there yet: a place that no run can start from
        return pointed_at(folder, "latest") or folder / "checkpoints"


def cell_config(plan: AuditPlan, cell: Cell) -> Config:
    """A cell's settings. Raises UserError for a kappa that the rule or the stream cannot make."""
    config = resolved(load_config(plan.recipe, plan.cell_overrides(cell)))
    option = "--progressive" if cell.rule == PROGRESSIVE else "--kappa"
    for hours, wanted in plan.batch_schedule(cell):
        made = config.global_batch_seconds(1, hours)
        if abs(made - wanted) > 1e-6 * wanted:
            raise UserError(
                f"{option} {cell.kappa:g}: a batch of {wanted:g} s is no whole number of groups of "
                f"{config.group_seconds:g} s",
                "choose another kappa, or set batch.group_seconds",
            )
        in_force(config, made)
    return config


def _cells(
    first_seed: int,
    settings: Sequence[tuple[str, float]],
    seeds: int,
    seeds_at: Mapping[tuple[str, float], int],
) -> list[Cell]:
    """Seed by seed, so that an audit that is cut short has whole comparisons; kappa = 1 before all."""
    for rule, kappa in seeds_at:
        if (rule, kappa) not in settings:
            raise UserError(
                f"--seeds-at {rule}:{kappa:g} is no cell of this audit",
                "name one of " + ", ".join(f"{rule}:{kappa:g}" for rule, kappa in settings),
            )
    of_each = {setting: seeds_at.get(setting, seeds) for setting in settings}
    most = max([*of_each.values(), *([] if of_each else [seeds])])
    cells = [Cell(1.0, "full", first_seed + n) for n in range(most)]
    return cells + [
        Cell(kappa, rule, first_seed + n)
        for n in range(most)
        for (rule, kappa), count in of_each.items()
        if n < count
    ]


def make_plan(
    recipe: str,
    overrides: list[str],
    kappas: Sequence[float],
    rules: Sequence[str] = RULES,
    seeds: int = 3,
    hours: float | None = None,
    burn_in_hours: float = 0.0,
    output: Path | None = None,
    progressive: float | None = None,
    seeds_at: Mapping[tuple[str, float], int] | None = None,
) -> AuditPlan:
    """The cells of an audit of a recipe; `hours` of audio each, those of the recipe at None.

    `progressive`: a kappa to grow to, too. `seeds_at`: by rule (or `PROGRESSIVE`) and kappa, another number of
    seeds. Raises UserError for a rule there is not, hours that do not fit, and a kappa that cannot be made.
    """
    config = resolved(load_config(recipe, overrides))
    for rule in rules:
        if rule not in RULES:
            raise UserError(
                f"--rules '{rule}' is unknown", f"name one or several of {', '.join(RULES)}"
            )
    hours = config.trainer.total_hours if hours is None else hours
    if not 0 <= burn_in_hours < hours:
        raise UserError(
            f"--burn-in-hours {burn_in_hours:g} does not fit",
            f"it must lie between 0 and {hours:g}",
        )
    if progressive is not None and not progressive > 1:
        raise UserError(f"--progressive {progressive:g} does not grow", "give a kappa above 1")
    settings = [(rule, kappa) for kappa in sorted(kappas) if kappa != 1 for rule in rules]
    settings += [] if progressive is None else [(PROGRESSIVE, progressive)]
    cells = _cells(config.seed, settings, seeds, seeds_at or {})
    # A burn-in ends earlier, but decays like its cells.
    decay = [] if config.optimizer.decay_end_hours else [f"optimizer.decay_end_hours={hours}"]
    plan = AuditPlan(
        recipe,
        [*overrides, *decay],
        output or Path(f"{config.output}_audit"),
        cells,
        hours,
        burn_in_hours,
        config.scaling.reference_batch_seconds,
    )
    for cell in cells:
        cell_config(plan, cell)  # what no kappa can make is said before anything is run
    return plan
