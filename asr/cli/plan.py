"""`asr plan`: what the rule derives for other numbers of ranks, before any hour is spent."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr.cli.arguments.common import add_recipe, make_parser
from asr.config.recipe import load_config
from asr.config.schema import Config
from asr.errors import UserError
from asr.planning.estimates import (
    BANDWIDTH_GB_PER_SECOND,
    LATENCY_MICROSECONDS,
    Network,
    parameter_count,
    vocabulary_size,
    wall_hours,
)
from asr.planning.plan import (
    UNKNOWN_VOCABULARY,
    full_row,
    render_table,
)
from asr.planning.speed_up import PAYS_ABOVE, SpeedUp, render_speed_ups, speed_ups
from asr.planning.validity import RunGradient
from asr.scaling.card import render_card, scaling_cards
from asr.scaling.rule import kappa_of
from asr.training.start.resolved import about_passes, resolved
from asr.utils.options import batch_sizes, finite

_DESCRIPTION = """\
Show the hyperparameters that the scaling rule derives from a recipe's reference batch, for one or several
numbers of ranks (GPUs). Nothing is trained.
"""


def main(argv: list[str]) -> int:
    """Print scaling cards and the table, or with --json the rows; fail if a rank count is impossible."""
    arguments = _parse(argv)
    overrides = list(arguments.overrides)
    if arguments.batch_seconds_per_rank is not None:
        seconds = arguments.batch_seconds_per_rank
        overrides += ["batch.batch_seconds=null", f"batch.batch_seconds_per_rank={seconds}"]
    given = load_config(arguments.recipe, overrides)
    config = resolved(given)
    rows, impossible = _rows(config, _rank_counts(arguments.ranks), _speed(arguments, config))
    gradient = None if arguments.run is None else RunGradient.read(arguments.run)
    if gradient is not None:
        for row in rows:
            gradient.add_to(row, config)
    speed_up = None if arguments.kappas is None else _speed_ups(arguments, config, gradient)
    if arguments.json:
        print(json.dumps(rows if speed_up is None else [asdict(o) for o in speed_up], indent=2))
    elif rows:
        cards = [card for row in rows for card in scaling_cards(config, row["ranks"])]
        print("".join(f"{line}\n" for line in about_passes(given, config)), end="")
        print("\n\n".join(map(render_card, cards)) + "\n\n" + render_table(rows))
        print(_about_a_fixed_batch(arguments, config), end="")
    if speed_up is not None and not arguments.json:
        print(render_speed_ups(speed_up, arguments.pays_above))
    if gradient is not None and not arguments.json:
        print(gradient.describe(config.scaling.reference_batch_seconds))
    if impossible:
        *others, last = impossible
        raise UserError("; ".join([*map(str, others), last.what]), last.remedy)
    return 0


def _speed_ups(
    arguments: argparse.Namespace, config: Config, gradient: RunGradient | None
) -> list[SpeedUp]:
    speed = _speed(arguments, config)
    if speed is None:
        raise UserError(
            "--kappas wants a speed to reckon with",
            f"measure one (asr bench {arguments.recipe}) and say --bench bench.json, or give --throughput",
        )
    noise = None if gradient is None else gradient.noise_scale_seconds
    return speed_ups(
        config,
        batch_sizes(arguments.kappas, "--kappas"),
        _rank_counts(arguments.ranks)[0],
        speed,
        noise,
    )


def _about_a_fixed_batch(arguments: argparse.Namespace, config: Config) -> str:
    """What several ranks would be for, where the recipe gives them all one batch; else nothing."""
    ranks, seconds = _rank_counts(arguments.ranks), config.batch.batch_seconds
    if len(set(ranks)) < 2 or not isinstance(seconds, (int, float)):
        return ""
    each = seconds / min(ranks)
    kappas = ", ".join(f"{kappa_of(config, each * count):g}" for count in ranks)
    return (
        f"batch.batch_seconds is {seconds:g} whatever the ranks: they share one batch, and kappa stays. With "
        f"--batch-seconds-per-rank {each:g} kappa is {kappas}.\n"
    )


def _rows(
    config: Config, ranks: list[int], speed: tuple[float, Network] | None
) -> tuple[list[dict[str, Any]], list[UserError]]:
    """A row for each count of ranks; and the errors of those for which the rule has no solution."""
    rows: list[dict[str, Any]] = []
    impossible: list[UserError] = []
    vocabulary = vocabulary_size(config) or UNKNOWN_VOCABULARY
    parameter_count(config, vocabulary)  # a model that is not there is no matter of the ranks
    for count in ranks:
        try:
            row = full_row(config, count)
        except UserError as error:
            impossible.append(error.at(f"{count} ranks"))
            continue
        if speed is not None:
            row["wall_hours"] = wall_hours(config, vocabulary, row, *speed)
        rows.append(row)
    return rows, impossible


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("plan", _DESCRIPTION)
    add_recipe(parser, "e.g. teacher.half_life_hours=50")
    parser.add_argument("--ranks", default="1", help="rank counts, comma-separated (default: 1)")
    parser.add_argument(
        "--batch-seconds-per-rank",
        type=finite,
        metavar="S",
        help="audio per rank and step; the global batch is then ranks x S, to a whole number of groups",
    )
    parser.add_argument(
        "--throughput",
        type=finite,
        metavar="X",
        help="seconds of audio that one rank trains on in a second, communication aside: adds an "
        "estimate of the wall-clock",
    )
    parser.add_argument(
        "--bench",
        type=Path,
        metavar="FILE",
        help="take throughput, and where it holds them bandwidth and latency, from `asr bench`",
    )
    parser.add_argument(
        "--kappas",
        metavar="K,...",
        help="the wall-clock at each of these batch sizes, with as many times the ranks as the first of "
        "--ranks, and where that stops paying; wants --bench or --throughput (with --json these rows alone)",
    )
    parser.add_argument(
        "--pays-above",
        type=finite,
        default=PAYS_ABOVE,
        metavar="X",
        help="a doubling of the batch pays where it makes the run so many times as fast (%(default)s)",
    )
    parser.add_argument(
        "--bandwidth-gb-per-second",
        type=finite,
        help=f"between ranks ({BANDWIDTH_GB_PER_SECOND:g})",
    )
    parser.add_argument(
        "--latency-microseconds", type=finite, help=f"of a message ({LATENCY_MICROSECONDS:g})"
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="EXP",
        help="what that run's gradients say: the noise scale, up to which larger batches pay, and how much "
        "shorter steps will be than the rule means them to be",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list, one object a rank count"
    )
    return parser.parse_intermixed_args(argv)


def _rank_counts(text: str) -> list[int]:
    try:
        ranks = [int(part) for part in text.split(",")]
    except ValueError:
        ranks = []
    if not ranks or min(ranks) < 1:
        raise UserError(
            f"--ranks '{text}' is no list of ranks", "write positive whole numbers, as in 1,8,64"
        )
    return ranks


def _speed(arguments: argparse.Namespace, config: Config) -> tuple[float, Network] | None:
    if arguments.throughput is None and arguments.bench is None:
        return None
    from asr.planning.benchmark import Bench, speed_of

    bench = None if arguments.bench is None else Bench.read(arguments.bench)
    return speed_of(
        config,
        bench,
        arguments.throughput,
        arguments.bandwidth_gb_per_second,
        arguments.latency_microseconds,
    )
