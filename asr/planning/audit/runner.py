"""`asr audit`: does this recipe keep its learning curve when the batch grows? Short runs that tell.

Each cell (kappa, rule, seed) is a run of its own in OUTPUT/cells, to the same hours of audio. kappa = 1
is the same run under every rule, so it is run once a seed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from asr.config.recipe import Config, load_config
from asr.errors import UserError
from asr.planning.audit.metrics import METRICS, Cell, compare, curves_of, tables, to_json
from asr.scaling.rule import in_force
from asr.utils.files import write_json, write_text

BURN_IN = "burn_in"
RULES = ("full", "optimizer_only", "none")
_BYTES_PER_CELL = 2 << 30
_POLL_SECONDS = 0.5

_DESCRIPTION = """\
Train a recipe at several batch sizes (kappa = batch / reference batch), under several scaling rules,
with several seeds, each to the same hours of audio, and say how far the learning curves lie from
those at kappa = 1, measured in the spread between seeds at kappa = 1.

Run it again after an interruption: a finished cell is never run twice, a broken one goes on from its
last checkpoint. Every cell is an ordinary run folder in OUTPUT/cells.
"""


@dataclass(frozen=True)
class Plan:
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


def main(argv: list[str]) -> int:
    """Run what is missing of an audit, and write its table and figure."""
    arguments = _parse(argv)
    config = load_config(arguments.recipe, arguments.overrides)
    output = arguments.output or Path(f"{config.output}_audit")
    kappas = _numbers(arguments.kappa, "--kappa")
    rules = arguments.rules.split(",")
    for rule in rules:
        if rule not in RULES:
            raise UserError(f"--rules '{rule}': one or several of {', '.join(RULES)}")
    seeds = range(config.seed, config.seed + arguments.seeds)
    hours = config.trainer.total_hours if arguments.hours is None else arguments.hours
    # Seed by seed, so that an audit that is cut short has whole comparisons.
    cells = [Cell(1.0, "full", seed) for seed in seeds]
    cells += [Cell(k, rule, s) for s in seeds for k in sorted(kappas) if k != 1 for rule in rules]
    overrides = list(arguments.overrides)
    # A burn-in ends earlier, but decays like its cells.
    if config.optimizer.decay_end_hours is None:
        overrides.append(f"optimizer.decay_end_hours={hours}")
    reference_seconds = config.scaling.reference_batch_seconds
    burn_in_hours = arguments.burn_in_hours
    plan = Plan(arguments.recipe, overrides, output, cells, hours, burn_in_hours, reference_seconds)
    if not 0 <= plan.burn_in_hours < hours:
        raise UserError(f"--burn-in-hours {plan.burn_in_hours:g}: must lie between 0 and {hours:g}")
    jobs = arguments.jobs or _room()
    for cell in cells:
        _config(plan, cell)  # what no kappa can make is said before anything is run
    failed = _run_missing(plan, plan.burn_ins, jobs)
    if failed:
        return 1
    failed = _run_missing(plan, cells, jobs)
    configs = {cell: _config(plan, cell) for cell in cells}
    _write_results(plan, configs[cells[0]], configs, failed)
    return 1 if failed else 0


def _run_missing(plan: Plan, cells: Sequence[Cell], jobs: int) -> dict[Cell, str]:
    if not cells:
        return {}
    todo = [cell for cell in cells if not _is_finished(plan.folder(cell), _config(plan, cell))]
    what = (
        f"burn-ins of {plan.burn_in_hours:g}"
        if cells[0].rule == BURN_IN
        else f"cells of {plan.hours:g}"
    )
    print(
        f"asr audit: {len(cells)} {what} h of audio, {len(cells) - len(todo)} finished "
        f"before; {min(jobs, len(todo))} at a time; {plan.output}",
        flush=True,
    )
    return _Runner(plan, jobs).run(todo)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="asr audit",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", help="recipe, YAML")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="for every cell, e.g. model.layers=4"
    )
    parser.add_argument("--kappa", default="1,2,4,8", help="batch sizes, in reference batches")
    parser.add_argument(
        "--seeds", type=int, default=3, help="seeds: the recipe's and the next ones"
    )
    parser.add_argument("--hours", type=float, help="hours of audio a cell (default: the recipe's)")
    parser.add_argument(
        "--burn-in-hours",
        type=float,
        default=0.0,
        help="start each seed's cells from one shared run at kappa 1 of so many hours, as a run whose "
        "number of GPUs changes in the middle does (default: 0, from nothing)",
    )
    parser.add_argument("--rules", default=",".join(RULES), help="of " + ", ".join(RULES))
    parser.add_argument("--output", type=Path, help="default: the recipe's output + '_audit'")
    parser.add_argument(
        "--jobs", type=int, help="cells at a time (default: what the machine holds)"
    )
    arguments = parser.parse_intermixed_args(argv)
    if arguments.seeds < 1 or (arguments.jobs is not None and arguments.jobs < 1):
        raise UserError("--seeds and --jobs must be at least 1")
    if arguments.hours is not None and not arguments.hours > 0:
        raise UserError(f"--hours {arguments.hours}: must be above 0")
    return arguments


def _numbers(text: str, option: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) <= 0 or len(set(numbers)) < len(numbers):
        raise UserError(f"{option} '{text}': write different positive numbers, as in 1,2,4,8")
    return numbers


def _config(plan: Plan, cell: Cell) -> Config:
    """A cell's settings. Raises UserError for a kappa that the rule or the stream cannot make."""
    config = load_config(plan.recipe, plan.cell_overrides(cell))
    wanted, made = cell.kappa * plan.reference_batch_seconds, config.global_batch_seconds(1)
    if abs(made - wanted) > 1e-6 * wanted:
        raise UserError(
            f"--kappa {cell.kappa:g}: a batch of {wanted:g} s is no whole number of groups of "
            f"{config.group_seconds:g} s; choose another kappa, or set batch.group_seconds"
        )
    in_force(config, made)
    return config


def _is_finished(folder: Path, config: Config) -> bool:
    """Whether a cell has run to its end. Raises UserError if it was run, or begun, with other settings."""
    path = folder / "config.yaml"
    if not path.is_file():
        return False
    before = load_config(path)
    if before != config:
        changed = [
            name
            for name, value in config.model_dump(mode="json").items()
            if value != before.model_dump(mode="json")[name]
        ]
        raise UserError(
            f"{folder}: was run with other settings ({', '.join(changed)}); undo the change, or choose "
            "another --output"
        )
    return (folder / "complete.json").is_file()


def _room() -> int:
    """Cells that this machine holds at a time: one a GPU, or one a core within its memory."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return torch.cuda.device_count()
    memory = int(psutil.virtual_memory().available // _BYTES_PER_CELL)
    return max(1, min(len(os.sched_getaffinity(0)), memory))


class _Runner:
    """Runs cells as processes, so many at a time."""

    def __init__(self, plan: Plan, jobs: int) -> None:
        self.plan, self.jobs = plan, jobs
        self.running: dict[Cell, tuple[subprocess.Popen[bytes], int, float]] = {}
        self.failed: dict[Cell, str] = {}
        self.done = 0

    def run(self, cells: Sequence[Cell]) -> dict[Cell, str]:
        """Run all; the last line of those that failed. A signal stops the cells, which save."""
        handlers = {s: signal.signal(s, _interrupt) for s in (signal.SIGTERM, signal.SIGINT)}
        waiting = list(cells)
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.jobs:
                    self._start(waiting.pop(0))
                time.sleep(_POLL_SECONDS)
                for cell in [c for c, (p, *_) in self.running.items() if p.poll() is not None]:
                    self._finish(cell, len(cells))
        except KeyboardInterrupt:
            for process, *_ in self.running.values():
                process.send_signal(signal.SIGTERM)
            for process, *_ in self.running.values():
                process.wait()
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self.failed

    def _start(self, cell: Cell) -> None:
        folder = self.plan.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        overrides = self.plan.cell_overrides(cell)
        slots = {slot for _, slot, _ in self.running.values()}
        slot = next(n for n in range(self.jobs) if n not in slots)
        environment = {**os.environ, **_share_of_machine(slot, self.jobs)}
        with (folder / "audit.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "asr", "train", self.plan.recipe, *overrides],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a Ctrl-C is ours to pass on
            )
        self.running[cell] = (process, slot, time.monotonic())

    def _finish(self, cell: Cell, total: int) -> None:
        process, _, started = self.running.pop(cell)
        folder = self.plan.folder(cell)
        self.done += 1
        if process.returncode == 0 and (folder / "complete.json").is_file():
            outcome = f"done in {(time.monotonic() - started) / 60:.1f} min"
        else:
            lines = (folder / "audit.log").read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "no output")
            self.failed[cell] = last.strip()
            outcome = f"failed: {last.strip()}"
        print(f"[{self.done}/{total}] {cell.name}: {outcome}", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _share_of_machine(slot: int, jobs: int) -> dict[str, str]:
    """One thread a cell where cells share cores; one GPU each where there are GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(n) for n in range(jobs)]
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "CUDA_VISIBLE_DEVICES": devices[slot % len(devices)],
    }


def _write_results(
    plan: Plan, config: Config, configs: Mapping[Cell, Config], failed: Mapping[Cell, str]
) -> None:
    from asr.planning.audit.plot import draw
    from asr.tracking.metric_logger import environment
    from asr.tracking.run_reader import read_run

    finished = [cell for cell in plan.cells if (plan.folder(cell) / "complete.json").is_file()]
    curves = {cell: curves_of(read_run(plan.folder(cell))) for cell in finished}
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
            for cell in configs
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
    print(page)
    print(
        f"table: {plan.output}/audit.md; figure: {plan.output}/audit.svg; all: {plan.output}/audit.json"
    )
