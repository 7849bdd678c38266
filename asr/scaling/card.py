"""The scaling card: what the rule derives from a recipe, for people and for files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from asr.config.schema import Config
from asr.scaling.rule import SECONDS_PER_HOUR, half_lives_in_run, in_force, kappa_of, reference

_OFF_GRID_SHARE = 0.01


def batch_change(config: Config, hours: float, before: float, after: float, second: str) -> str:
    """In words: batches of other seconds from here on; `second` is what Adam's second moment gets."""
    kappas = kappa_of(config, before), kappa_of(config, after)
    return (
        f"{hours:8.2f} h  batch {before:g} -> {after:g} s, kappa {kappas[0]:g} -> {kappas[1]:g}; Adam's second "
        f"moment: {second}"
    )


def steps_for(hours: float, batch_seconds: float) -> int:
    """Steps of `batch_seconds` that cover `hours` of audio."""
    return math.ceil(hours * SECONDS_PER_HOUR / batch_seconds - 1e-9)


def steps_until(hours: float, schedule: Sequence[tuple[float, float]]) -> int:
    """Steps that cover `hours` of audio under a batch schedule of (from this hour on, seconds)."""
    steps, reached = 0, 0.0
    ends = [start for start, _ in schedule[1:]] + [math.inf]
    for (_, batch_seconds), end in zip(schedule, ends, strict=True):
        span = max(0.0, min(hours, end) - reached)
        piece = steps_for(span, batch_seconds)
        steps += piece
        reached += piece * batch_seconds / SECONDS_PER_HOUR
    return steps


def off_grid(config: Config, ranks: int) -> list[str]:
    """Batches that the recipe asks for and that no whole number of groups makes."""
    factor = 1 if config.batch.batch_seconds is not None else ranks
    return [
        f"a batch of {wanted * factor:g} s becomes {made:g} s, a whole number of groups of "
        f"{config.group_seconds:g} s (batch.group_seconds)"
        for (_, wanted), (_, made) in zip(
            config.batch.pieces, config.batch_schedule(ranks), strict=True
        )
        if abs(made - wanted * factor) > _OFF_GRID_SHARE * wanted * factor
    ]


def plan_row(config: Config, ranks: int, from_hours: float = 0.0) -> dict[str, Any]:
    """The machine-readable plan for `ranks` ranks: one row of `asr plan --json`.

    Values are those in force at `from_hours` of audio, steps those of the whole batch schedule.
    Raises UserError where the rule has no solution.
    """
    schedule = config.batch_schedule(ranks)
    batch_seconds = config.global_batch_seconds(ranks, from_hours)
    values = in_force(config, batch_seconds, from_hours)
    start = config.pseudo_label.start_hours
    row = asdict(values)
    row.pop("batch_seconds")
    return {
        "ranks": ranks,
        "global_batch_seconds": batch_seconds,
        "kappa": kappa_of(config, batch_seconds),
        **row,
        "betas": list(values.betas) if values.betas else None,
        "half_lives_in_run": half_lives_in_run(config, batch_seconds),
        "warmup_steps": steps_until(config.optimizer.warmup_hours, schedule),
        "pseudo_label_start_steps": None if start is None else steps_until(start, schedule),
        "total_steps": steps_until(config.trainer.total_hours, schedule),
    }


def scaling_cards(config: Config, ranks: int) -> list[dict[str, Any]]:
    """A card for each piece of the batch schedule; most recipes have one.

    Raises UserError where the rule has no solution in any of them.
    """
    return [scaling_card(config, ranks, hours) for hours, _ in config.batch_schedule(ranks)]


def scaling_card(config: Config, ranks: int, from_hours: float = 0.0) -> dict[str, Any]:
    """Reference against in force at `from_hours` of audio, and the horizons in hours."""
    row = plan_row(config, ranks, from_hours)
    reference_values = asdict(reference(config, from_hours))
    reference_values["betas"] = list(reference_values["betas"] or []) or None
    horizons = {
        "warmup": config.optimizer.warmup_hours,
        "pseudo_label_start": config.pseudo_label.start_hours,
        "total": config.trainer.total_hours,
    }
    reference_batch = config.scaling.reference_batch_seconds
    return {
        "from_hours": from_hours,
        "kappa": row["kappa"],
        "ranks": ranks,
        "rule": config.scaling.rule,
        "reference": {
            **reference_values,
            **{
                f"{name}_steps": None if hours is None else steps_for(hours, reference_batch)
                for name, hours in horizons.items()
            },
        },
        "in_force": {
            "batch_seconds": row["global_batch_seconds"],
            **{name: row[name] for name in reference_values if name != "batch_seconds"},
            **{f"{name}_steps": row[f"{name}_steps"] for name in horizons},
        },
        "horizon_hours": horizons,
        "half_lives_in_run": row["half_lives_in_run"],
    }


def render_card(card: dict[str, Any]) -> str:
    """The card as a plain-text table."""
    title = f"scaling card: kappa {card['kappa']:g}, rule {card['rule']}, ranks {card['ranks']}"
    if card["from_hours"]:
        title += f", from {card['from_hours']:g} h on"
    lines = [title, f"  {'':<22} {'reference':>22} {'in force':>22}"]
    for name, reference_value in card["reference"].items():
        shown = (_show(reference_value), _show(card["in_force"][name]))
        lines.append(f"  {name:<22} {shown[0]:>22} {shown[1]:>22}")
    hours = ", ".join(f"{name} {_show(value)}" for name, value in card["horizon_hours"].items())
    lines.append(f"  hours of audio: {hours}")
    lines.append(f"  teacher half-lives in the run: {card['half_lives_in_run']:.3g}")
    return "\n".join(lines)


def _show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(_show(item) for item in value)
    return f"{value:.8g}" if isinstance(value, float) else str(value)
