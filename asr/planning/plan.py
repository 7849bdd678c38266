"""`asr plan`: what the rule derives for other numbers of ranks, before any hour is spent."""

from __future__ import annotations

import math
from typing import Any

from asr.config.schema import Config
from asr.distributed.precision import Precision
from asr.planning.estimates import (
    memory_gb_per_rank,
    micro_batches_per_rank,
    parameter_count,
    vocabulary_size,
)
from asr.planning.rule_notes import rule_notes
from asr.scaling.card import off_grid, plan_row

UNKNOWN_VOCABULARY = 1000
_OF_A_PIECE = (
    *("global_batch_seconds", "kappa", "learning_rate", "betas", "eps", "weight_decay"),
    *("max_gradient_norm", "half_life_hours", "teacher_update_steps", "teacher_momentum"),
)
"""What another batch in the schedule changes."""
_FEWEST_HALF_LIVES = 2.0
_MOST_BETA_SHARE = 0.5


def full_row(config: Config, ranks: int) -> dict[str, Any]:
    """`plan_row`, and what the batch asks of the machine and of the rule.

    Raises UserError where the rule has no solution.
    """
    starts = [hours for hours, _ in config.batch_schedule(ranks)]
    pieces = [plan_row(config, ranks, hours) for hours in starts]
    row = pieces[0].copy()
    known = vocabulary_size(config)
    vocabulary = UNKNOWN_VOCABULARY if known is None else known
    stages = [s for s in range(4) if s or not Precision.of(config).wants_masters_apart]
    found = {note: None for piece in pieces for note in notes(config, piece)}
    if len(pieces) > 1:
        row["batch_schedule"] = [
            {"from_hours": hours, **{name: piece[name] for name in _OF_A_PIECE}}
            for hours, piece in zip(starts, pieces, strict=True)
        ]
    return {
        **row,
        "micro_batches_per_rank": max(
            micro_batches_per_rank(config, piece["global_batch_seconds"], ranks) for piece in pieces
        ),
        "parameters": parameter_count(config, vocabulary),
        "memory_gb_per_rank": {
            f"zero_{stage}": _known(memory_gb_per_rank(config, vocabulary, ranks, stage))
            for stage in stages
        },
        "notes": [*off_grid(config, ranks), *found, *_unknown(config)],
        "recipe_notes": rule_notes(config),
    }


def _known(parts: dict[str, float]) -> dict[str, float | None]:
    """None where there is no estimate."""
    return {name: None if math.isnan(value) else value for name, value in parts.items()}


def _unknown(config: Config) -> list[str]:
    if config.model.kind == "transformer":
        return []
    return [
        "memory: what a micro-batch takes is not estimated for a pretrained model (`asr bench` measures it)"
    ]


def notes(config: Config, row: dict[str, Any]) -> list[str]:
    """Where this batch leaves the range in which the rule is known to hold, and why."""
    kappa, found = row["kappa"], []
    if row["betas"] and config.scaling.rule != "none":
        share = max(1.0 - beta for beta in row["betas"])
        if share > _MOST_BETA_SHARE:
            found.append(
                f"1 - beta is {share:.2g} at kappa {kappa:.3g}: Adam averages over less than two steps"
            )
    half_lives = row["half_lives_in_run"]
    if half_lives < _FEWEST_HALF_LIVES:
        found.append(
            f"the run holds {half_lives:.2g} half-lives of the teacher: "
            + (
                "it hardly gets that long"
                if config.teacher.warmup_share
                else "its first students stay in it"
            )
        )
    interval = config.teacher.update_interval_seconds
    if (
        interval
        and row["teacher_update_steps"] == 1
        and row["global_batch_seconds"] > 1.5 * interval
    ):
        found.append(
            f"the teacher's interval of {interval:g} s is shorter than a step: it is updated every step"
        )
    steps_in_half_life = row["half_life_hours"] * 3600 / row["global_batch_seconds"]
    if steps_in_half_life < 2:
        found.append(
            f"a half-life of the teacher is {steps_in_half_life:.2g} steps: hardly an average"
        )
    if config.optimizer.warmup_hours and row["warmup_steps"] < 10:
        found.append(f"warm-up takes {row['warmup_steps']} steps: too coarse to warm up")
    share = row["global_batch_seconds"] / row["ranks"]
    if share < 10.0:
        found.append(f"{share:.2g} s of audio a rank and step: ranks will wait for each other")
    return found


def render_table(rows: list[dict[str, Any]]) -> str:
    """The rows as columns of plain text, a line a quantity; below it the notes."""

    def line(name: str, values: list[Any]) -> str:
        return f"  {name:<26}" + "".join(f"{_short(value):>14}" for value in values)

    names = (
        *("global_batch_seconds", "kappa", "learning_rate", "betas", "eps", "weight_decay"),
        *("max_gradient_norm", "half_life_hours", "half_lives_in_run", "teacher_update_steps"),
        *("teacher_momentum", "warmup_steps", "pseudo_label_start_steps", "total_steps"),
        *(
            "micro_batches_per_rank",
            "gradient_signal_share",
            "step_deviation_percent",
            "wall_hours",
        ),
    )
    lines = [line("ranks", [row["ranks"] for row in rows])]
    lines += [line(name, [row[name] for row in rows]) for name in names if name in rows[0]]
    lines.append("  memory of a rank, GB (activations of the largest micro-batch included)")
    lines += [
        line(f"  {stage}", [row["memory_gb_per_rank"][stage]["total"] for row in rows])
        for stage in rows[0]["memory_gb_per_rank"]
    ]
    lines += [f"  note: {note}" for note in rows[0]["recipe_notes"]]
    lines += [f"  note, {row['ranks']} ranks: {note}" for row in rows for note in row["notes"]]
    return "\n".join([f"plan: {rows[0]['parameters']:,} parameters", *lines])


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_short(item) for item in value)
    if value is None:
        return "-"
    if isinstance(value, float) and 0.99 < value < 1.0:
        return f"{value:.7g}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
