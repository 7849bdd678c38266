"""How much sooner a run ends at larger kappa on as many times the ranks, and where that stops paying."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asr.config.schema import Config
from asr.errors import UserError
from asr.planning.estimates import Network, micro_batches_per_rank, vocabulary_size, wall_hours
from asr.planning.plan import UNKNOWN_VOCABULARY
from asr.scaling.card import plan_row

PAYS_ABOVE = 1.5
"""Of a doubling's speed-up: below it more than a quarter of the added ranks' time is lost."""


@dataclass(frozen=True)
class SpeedUp:
    """A run at one kappa."""

    kappa: float
    ranks: int
    batch_seconds: float
    wall_hours: float | None
    """None where the rule has no solution."""
    speed_up: float | None
    """Over the first kappa."""
    per_doubling: float | None
    """Over the kappa before, for each doubling between the two."""
    is_above_noise_scale: bool | None
    """None where it is not known."""
    reason: str = ""
    """Why there is no figure."""


def speed_ups(
    config: Config,
    kappas: Sequence[float],
    ranks_at_1: int,
    speed: tuple[float, Network],
    noise_scale_seconds: float | None,
) -> list[SpeedUp]:
    """By kappa, ascending: the same hours of audio, the same share of a batch a rank.

    Raises UserError for a kappa that no whole number of ranks makes.
    """
    found: list[SpeedUp] = []
    vocabulary = vocabulary_size(config) or UNKNOWN_VOCABULARY
    for kappa in sorted(kappas):
        ranks = round(kappa * ranks_at_1)
        if ranks < 1 or abs(ranks - kappa * ranks_at_1) > 1e-9 * ranks:
            raise UserError(
                f"--kappas {kappa:g}: {kappa * ranks_at_1:g} ranks are no whole number",
                f"with {ranks_at_1} at kappa 1 (the first of --ranks) name multiples of {1 / ranks_at_1:g}",
            )
        seconds = kappa * config.scaling.reference_batch_seconds
        hours, reason = None, ""
        try:
            row = _row(config, seconds, ranks)
            hours = wall_hours(config, vocabulary, row, *speed)
        except UserError as error:
            reason = error.what
        above = None if noise_scale_seconds is None else seconds > noise_scale_seconds
        timed = [one for one in found if one.wall_hours is not None]
        total = step = None
        if hours is not None:
            first, last = (timed[0], timed[-1]) if timed else (None, None)
            total = 1.0 if first is None or first.wall_hours is None else first.wall_hours / hours
            if last is not None and last.wall_hours is not None:
                step = (last.wall_hours / hours) ** (1.0 / math.log2(kappa / last.kappa))
        found.append(SpeedUp(kappa, ranks, seconds, hours, total, step, above, reason))
    return found


def _row(config: Config, seconds: float, ranks: int) -> dict[str, Any]:
    batch = config.batch.model_copy(
        update={"batch_seconds": seconds, "batch_seconds_per_rank": None}
    )
    own = config.model_copy(update={"batch": batch})
    row = plan_row(own, ranks)
    made = row["global_batch_seconds"]
    return {**row, "micro_batches_per_rank": micro_batches_per_rank(own, made, ranks)}


def render_speed_ups(found: Sequence[SpeedUp], pays_above: float) -> str:
    """A table, where it stops paying, and what is assumed."""
    lines = ["  kappa   ranks   batch, s   wall-clock, h   speed-up   per doubling"]
    for one in found:
        figures = "".join(
            f"{'-' if value is None else format(value, '.3g'):>{width}}"
            for value, width in ((one.wall_hours, 16), (one.speed_up, 11), (one.per_doubling, 15))
        )
        note = f"  {one.reason}" if one.reason else ""
        note += "  above the noise scale" if one.is_above_noise_scale else ""
        lines.append(f"{one.kappa:>7g}{one.ranks:>8}{one.batch_seconds:>11g}{figures}{note}")
    stops = next((o for o in found if o.reason or (o.per_doubling or math.inf) < pays_above), None)
    over = next((o for o in found if o.is_above_noise_scale), None)
    if stops is None:
        said = f"every doubling up to kappa {found[-1].kappa:g} makes it {pays_above:g} times as fast or more"
    elif stops.reason:
        said = f"the rule ends before kappa {stops.kappa:g}"
    else:
        said = f"it stops paying at kappa {stops.kappa:g}: less than {pays_above:g} times as fast a doubling"
    lines.append(
        said
        + (f"; from kappa {over.kappa:g} on the batch is above the noise scale" if over else "")
    )
    lines.append(
        "assumed: the same hours of audio to the same curve (the rule), a rank's share of the batch and its "
        "throughput unchanged, communication not overlapped, no evaluations and checkpoints"
    )
    return "\n".join(lines)
