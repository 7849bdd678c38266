"""`asr plan`: what the rule derives for other numbers of ranks, before any hour is spent."""

from __future__ import annotations

import argparse
import json

from asr.config import load_config
from asr.errors import UserError
from asr.scaling import plan_row, render_card, scaling_cards


def _rank_counts(text: str) -> list[int]:
    try:
        ranks = [int(part) for part in text.split(",")]
    except ValueError:
        ranks = []
    if not ranks or min(ranks) < 1:
        raise UserError(f"--ranks '{text}': write positive whole numbers, as in 1,8,64")
    return ranks


def main(argv: list[str]) -> int:
    """Print the scaling card, or with --json the plan, for each rank count."""
    parser = argparse.ArgumentParser(
        prog="asr plan",
        description="Show the hyperparameters that the scaling rule derives from a recipe's reference "
        "batch, for one or several numbers of ranks (GPUs). Nothing is trained.",
    )
    parser.add_argument("recipe", help="recipe, YAML")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="e.g. teacher.half_life_hours=50"
    )
    parser.add_argument("--ranks", default="1", help="rank counts, comma-separated (default: 1)")
    parser.add_argument(
        "--batch-seconds-per-rank",
        type=float,
        metavar="S",
        help="audio per rank and step; the global batch is then ranks x S",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list, one object a rank count"
    )
    arguments = parser.parse_intermixed_args(argv)
    overrides = list(arguments.overrides)
    if arguments.batch_seconds_per_rank is not None:
        seconds = arguments.batch_seconds_per_rank
        overrides += ["batch.batch_seconds=null", f"batch.batch_seconds_per_rank={seconds}"]
    config = load_config(arguments.recipe, overrides)
    ranks = _rank_counts(arguments.ranks)
    if arguments.json:
        print(json.dumps([plan_row(config, count) for count in ranks], indent=2))
    else:
        cards = [card for count in ranks for card in scaling_cards(config, count)]
        print("\n\n".join(map(render_card, cards)))
    return 0
