"""What an audit runs: a cell for each kappa, rule and seed, each a run of its own to the same hours of audio.

kappa = 1 is the same run under every rule, so it is run once a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.config.recipe import load_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.planning.audit.metrics import Cell
from asr.scaling.rule import in_force

BURN_IN = "burn_in"


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
        if cell.rule == BURN_IN:
            hours, rule, fork = self.burn_in_hours, "full", "fork_from=null"
        else:
            hours, rule, fork = self.hours, cell.rule, f"fork_from={self._burn_in(cell.seed)}"
        return [
            *self.overrides,
            *([fork] if self.burn_in_hours else []),
            f"name={cell.name}",
            f"output={self.folder(cell)}",
            f"seed={cell.seed}",
            f"scaling.rule={rule}",
            "batch.batch_seconds_per_rank=null",
            f"batch.batch_seconds={cell.kappa * self.reference_batch_seconds}",
            f"trainer.total_hours={hours}",
            "trainer.keep_last=1",
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
        return folder / "checkpoints" / (folder / "latest").read_text(encoding="utf-8").strip()


def cell_config(plan: AuditPlan, cell: Cell) -> Config:
    """A cell's settings. Raises UserError for a kappa that the rule or the stream cannot make."""
    config = load_config(plan.recipe, plan.cell_overrides(cell))
    wanted, made = cell.kappa * plan.reference_batch_seconds, config.global_batch_seconds(1)
    if abs(made - wanted) > 1e-6 * wanted:
        raise UserError(
            f"--kappa {cell.kappa:g}: a batch of {wanted:g} s is no whole number of groups of "
            f"{config.group_seconds:g} s",
            "choose another kappa, or set batch.group_seconds",
        )
    in_force(config, made)
    return config


def make_plan(
    recipe: str,
    overrides: list[str],
    kappas: Sequence[float],
    rules: Sequence[str] = RULES,
    seeds: int = 3,
    hours: float | None = None,
    burn_in_hours: float = 0.0,
    output: Path | None = None,
) -> AuditPlan:
    """The cells of an audit of a recipe; `hours` of audio each, those of the recipe at None.

    Raises UserError for a rule there is not, hours that do not fit, and a kappa that cannot be made.
    """
    config = load_config(recipe, overrides)
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
    # Seed by seed, so that an audit that is cut short has whole comparisons.
    numbers = range(config.seed, config.seed + seeds)
    cells = [Cell(1.0, "full", seed) for seed in numbers]
    cells += [Cell(k, rule, s) for s in numbers for k in sorted(kappas) if k != 1 for rule in rules]
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
