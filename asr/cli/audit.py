"""`asr audit`: does this recipe keep its learning curve when the batch grows? Short runs that tell."""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path

from asr.cli.arguments.common import add_device, add_recipe, make_parser
from asr.errors import UserError
from asr.planning.audit.margins import POINTS
from asr.planning.audit.metrics import METRICS, METRICS_WITHOUT_TEXTS
from asr.planning.audit.plan import RULES, make_plan
from asr.planning.audit.results import write_results
from asr.planning.audit.runner import alone, room, run_missing
from asr.utils.options import batch_sizes, finite
from asr.utils.streams import work_is_on_disk

_DESCRIPTION = """\
Train a recipe at several batch sizes (kappa = batch / reference batch), under several scaling rules,
with several seeds, each to the same hours of audio, and say whether the learning curves are those of
kappa = 1. A cell is compared with kappa = 1 of the same seed, which saw the same audio in the same order:
the differences are "equivalent" (two one-sided t-tests say that they lie within the margin), "different"
(a t-test, corrected by Holm for the cells of a table), or nothing can be told, and so many seeds could.

Run it again after an interruption, with more seeds, or with another margin: a finished cell is never run
twice, a broken one goes on from its last checkpoint. Every cell is an ordinary run folder in OUTPUT/cells.
"""
_EPILOG = """\
  asr audit RECIPE --burn-in-hours 8 --hours 16 --progressive 16 --seeds-at full:8=5,none:8=5 --margin 1

A margin is what you call small; state it before you look. By default it is a tenth of the gap between the
ablation (rule none, else optimizer_only) and the full rule at the largest kappa, whose own error the tests
take into account; without an ablation it is 1 point for what is in percent, and the rest has none. The table
says which it was, and its size. One margin goes for the end of the run and for the whole curve.

A recipe without texts (objective.kind latent, byol) is judged by its dev loss, under masks that are the same in
all runs, with the effective rank beside it; --margin 1 is there 1 % of kappa 1's value, and without an
ablation that is the default. A cell whose representations have collapsed, by the bounds of the recipe's own
alarm, and so are easily predicted, is called that, and neither equivalent nor better.

"Equivalent" is said of what is off by the margin in at most 5 % of cases, also of a whole rule whose every
kappa is called so; "different" of one of the cells of a table in at most 5 % of audits where none is.
"""


def main(argv: list[str]) -> int:
    """Run what is missing of an audit, and write its table and figure."""
    arguments = _parse(argv)
    work_is_on_disk()
    plan = make_plan(
        arguments.recipe,
        arguments.overrides,
        batch_sizes(arguments.kappa, "--kappa"),
        arguments.rules.split(","),
        arguments.seeds,
        arguments.hours,
        arguments.burn_in_hours,
        arguments.output,
        arguments.progressive,
        _seeds_at(arguments.seeds_at),
    )
    margins = _margins(arguments.margin)
    jobs, say = arguments.jobs or room(), partial(print, flush=True)
    with alone(plan):
        if run_missing(plan, plan.burn_ins, jobs, say):
            return 1
        failed = run_missing(plan, plan.cells, jobs, say)
        print(write_results(plan, failed, margins))
    folder = plan.output
    print(f"table: {folder}/audit.md; figure: {folder}/audit.svg; all: {folder}/audit.json")
    return 1 if failed else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("audit", _DESCRIPTION, _EPILOG)
    add_recipe(parser, "for every cell, e.g. model.layers=4")
    parser.add_argument("--kappa", default="1,2,4,8", help="batch sizes, in reference batches")
    parser.add_argument(
        "--seeds", type=int, default=3, help="seeds: the recipe's and the next ones"
    )
    parser.add_argument(
        "--seeds-at",
        default="",
        metavar="RULE:KAPPA=N,...",
        help="another number of seeds for some cells, e.g. full:8=5,none:8=5 or progressive:16=5; kappa 1 "
        "is run with as many as any cell",
    )
    parser.add_argument(
        "--progressive",
        type=finite,
        metavar="KAPPA",
        help="also cells that grow to this kappa under the full rule: 1, 2, 4, ... for equal parts of "
        "the hours after the burn-in",
    )
    parser.add_argument(
        "--margin",
        default="",
        metavar="POINTS",
        help="a difference that is called none, in points of what is in percent; of another metric by name: "
        "1,teacher_dev_loss=0.1 (default, and without texts: see below)",
    )
    parser.add_argument(
        "--hours", type=finite, help="hours of audio a cell (default: the recipe's)"
    )
    parser.add_argument(
        "--burn-in-hours",
        type=finite,
        default=0.0,
        help="start each seed's cells from one shared run at kappa 1 of so many hours, as a run whose "
        "number of GPUs changes in the middle does (default: 0, from nothing)",
    )
    parser.add_argument("--rules", default=",".join(RULES), help="of " + ", ".join(RULES))
    parser.add_argument("--output", type=Path, help="default: the recipe's output + '_audit'")
    parser.add_argument(
        "--jobs", type=int, help="cells at a time (default: what the machine holds)"
    )
    add_device(parser)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.seeds < 1 or (arguments.jobs is not None and arguments.jobs < 1):
        raise UserError("--seeds or --jobs is too small", "both must be at least 1")
    if arguments.hours is not None and not arguments.hours > 0:
        raise UserError(f"--hours {arguments.hours} is too few", "it must be above 0")
    return arguments


def _seeds_at(text: str) -> dict[tuple[str, float], int]:
    found: dict[tuple[str, float], int] = {}
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"(\w+):(\d+(?:\.\d+)?)=([1-9]\d*)", part.strip())
        if match is None:
            raise UserError(
                f"--seeds-at '{part}' is no number of seeds", "write RULE:KAPPA=N, as in none:8=5"
            )
        found[match[1], float(match[2])] = int(match[3])
    return found


def _margins(text: str) -> dict[str, float]:
    """By metric; a number alone goes for all that are in percent."""
    names = {metric.name for metric in (*METRICS, *METRICS_WITHOUT_TEXTS)}
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.strip().rpartition("=")
        try:
            size = float(number)
        except ValueError:
            size = 0.0
        if not 0 < size < float("inf") or (name and name not in names):
            raise UserError(
                f"--margin '{part}' is no margin",
                "write a positive number of points, or METRIC=NUMBER with one of "
                + ", ".join(sorted(names)),
            )
        found[name or POINTS] = size
    return found
