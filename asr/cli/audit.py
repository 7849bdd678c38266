"""`asr audit`: does this recipe keep its learning curve when the batch grows? Short runs that tell."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from asr.cli.options import add_recipe, make_parser
from asr.errors import UserError
from asr.planning.audit.plan import RULES, make_plan
from asr.planning.audit.results import write_results
from asr.planning.audit.runner import room, run_missing

_DESCRIPTION = """\
Train a recipe at several batch sizes (kappa = batch / reference batch), under several scaling rules,
with several seeds, each to the same hours of audio, and say how far the learning curves lie from
those at kappa = 1, measured in the spread between seeds at kappa = 1.

Run it again after an interruption: a finished cell is never run twice, a broken one goes on from its
last checkpoint. Every cell is an ordinary run folder in OUTPUT/cells.
"""


def main(argv: list[str]) -> int:
    """Run what is missing of an audit, and write its table and figure."""
    arguments = _parse(argv)
    plan = make_plan(
        arguments.recipe,
        arguments.overrides,
        _numbers(arguments.kappa, "--kappa"),
        arguments.rules.split(","),
        arguments.seeds,
        arguments.hours,
        arguments.burn_in_hours,
        arguments.output,
    )
    jobs, say = arguments.jobs or room(), partial(print, flush=True)
    if run_missing(plan, plan.burn_ins, jobs, say):
        return 1
    failed = run_missing(plan, plan.cells, jobs, say)
    print(write_results(plan, failed))
    folder = plan.output
    print(f"table: {folder}/audit.md; figure: {folder}/audit.svg; all: {folder}/audit.json")
    return 1 if failed else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("audit", _DESCRIPTION)
    add_recipe(parser, "for every cell, e.g. model.layers=4")
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
        raise UserError("--seeds or --jobs is too small", "both must be at least 1")
    if arguments.hours is not None and not arguments.hours > 0:
        raise UserError(f"--hours {arguments.hours} is too few", "it must be above 0")
    return arguments


def _numbers(text: str, option: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) <= 0 or len(set(numbers)) < len(numbers):
        raise UserError(
            f"{option} '{text}' is no list of batch sizes",
            "write different positive numbers, as in 1,2,4,8",
        )
    return numbers
