"""The scaling rule, in one place: (reference hyperparameters, kappa) -> the values in force.

Audio is the clock. A step is no unit of progress, since its size changes with the batch; so schedules
and the teacher's half-life are in hours of audio consumed by applied optimizer steps, and
kappa = batch / reference batch. Nobody else multiplies anything by kappa.

Sources: Busbridge et al. 2023, "How to Scale Your EMA" (arXiv 2307.13813) for the EMA scaling rule;
Malladi et al. 2022 (arXiv 2205.10287) for the square-root rule of Adam.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asr.config.recipe import Config, OptimizerConfig
from asr.errors import UserError

SECONDS_PER_HOUR = 3600.0
_OFF_GRID_SHARE = 0.01


@dataclass(frozen=True)
class Hyperparameters:
    """What the optimizer and the teacher use; at the reference batch or at kappa times it."""

    batch_seconds: float
    """Nominal audio of a global batch."""
    learning_rate: float
    """Peak learning rate."""
    betas: tuple[float, float] | None
    """Adam's betas; None for SGD."""
    eps: float | None
    """Adam's epsilon; None for SGD."""
    weight_decay: float
    max_gradient_norm: float
    """0 for no clipping."""
    half_life_hours: float
    """Half-life of a past student's weight in the teacher, in hours of audio."""
    teacher_update_steps: int
    """Optimizer steps between two teacher updates."""
    teacher_momentum: float
    """rho of one teacher update at the nominal batch."""


def kappa_of(config: Config, batch_seconds: float) -> float:
    """Batch over reference batch; any positive real."""
    return batch_seconds / config.scaling.reference_batch_seconds


def reference(config: Config) -> Hyperparameters:
    """The recipe's own values, at its reference batch."""
    return _derive(config, config.scaling.reference_batch_seconds, kappa=1.0)


def in_force(config: Config, batch_seconds: float) -> Hyperparameters:
    """The values at a global batch of `batch_seconds`, after `scaling.rule` (DESIGN.md, section 3).

    Raises UserError where the linear rule for Adam's betas has no solution.
    """
    return _derive(config, batch_seconds, kappa_of(config, batch_seconds))


def _derive(config: Config, batch_seconds: float, kappa: float) -> Hyperparameters:
    optimizer, scaling = config.optimizer, config.scaling
    optimizer_kappa = 1.0 if scaling.rule == "none" else kappa
    root = math.sqrt(optimizer_kappa)
    is_adam = optimizer.kind != "sgd"
    # Without the EMA rule a teacher update does what it does at the reference batch, so that the
    # half-life in audio stretches by kappa: this is the ablation that the paper contrasts.
    stretch = 1.0 if scaling.rule == "full" else kappa
    half_life_hours = config.teacher.half_life_hours * stretch
    interval_seconds = config.teacher.update_interval_seconds * stretch
    update_steps = max(1, round(interval_seconds / batch_seconds))
    decay_factor = root if scaling.weight_decay == "sqrt" and optimizer.kind == "adamw" else 1.0
    clip_divisor = root if scaling.gradient_clipping == "sqrt" else 1.0
    return Hyperparameters(
        batch_seconds=batch_seconds,
        learning_rate=optimizer.learning_rate * (root if is_adam else optimizer_kappa),
        betas=scale_betas(optimizer.betas, optimizer_kappa, scaling.betas) if is_adam else None,
        eps=optimizer.eps / root if is_adam else None,
        weight_decay=optimizer.weight_decay * decay_factor,
        max_gradient_norm=optimizer.max_gradient_norm / clip_divisor,
        half_life_hours=half_life_hours,
        teacher_update_steps=update_steps,
        teacher_momentum=teacher_momentum(update_steps * batch_seconds, half_life_hours),
    )


def scale_betas(betas: tuple[float, float], kappa: float, mode: str) -> tuple[float, float]:
    """1 - kappa (1 - beta) (Malladi et al. 2022), or with mode `half_life` beta^kappa.

    Raises UserError where kappa (1 - beta) >= 1: never a clip, which would change the dynamics unseen.
    """
    if mode == "half_life":
        return betas[0] ** kappa, betas[1] ** kappa
    impossible = max(1.0 - beta for beta in betas)
    if kappa > 1.0 and kappa * impossible >= 1.0 - 1e-9:  # 1 - 0.9 is not quite 0.1
        raise UserError(
            f"optimizer.betas {list(betas)} at kappa {kappa:g}: 1 - kappa (1 - beta) is not positive; "
            f"the largest kappa allowed is below {1.0 / impossible:g}; use a smaller batch, or "
            "scaling.betas=half_life, which is valid for every kappa"
        )
    return 1.0 - kappa * (1.0 - betas[0]), 1.0 - kappa * (1.0 - betas[1])


def teacher_momentum(seconds: float, half_life_hours: float) -> float:
    """rho of a teacher update that covers `seconds` of audio: 0.5^(seconds / half-life).

    Equal to rho_reference^kappa (arXiv 2307.13813, Definition 1.2), and right for dynamic batches, for
    any update interval, for a change of kappa in mid-run, and for a skipped step (0 seconds: rho = 1).
    """
    return float(0.5 ** (seconds / (SECONDS_PER_HOUR * half_life_hours)))


# Converters from and to the ways in which published recipes state a teacher.


def half_life_from_momentum(momentum: float, batch_seconds: float) -> float:
    """Half-life in hours of audio of a teacher that decays by `momentum` every `batch_seconds`.

    Raises UserError unless 0 < momentum < 1.
    """
    if not 0.0 < momentum < 1.0:
        raise UserError(f"teacher momentum {momentum} must lie between 0 and 1")
    return batch_seconds / SECONDS_PER_HOUR * math.log(0.5) / math.log(momentum)


def momentum_from_half_life(half_life_hours: float, batch_seconds: float) -> float:
    """The inverse of `half_life_from_momentum`."""
    return teacher_momentum(batch_seconds, half_life_hours)


def half_life_from_epoch_weight(weight: float, epoch_hours: float) -> float:
    """Half-life of Momentum Pseudo-Labeling's w (arXiv 2106.08922): alpha = w^(1/K), K updates an epoch."""
    return half_life_from_momentum(weight, epoch_hours * SECONDS_PER_HOUR)


def epoch_weight_from_half_life(half_life_hours: float, epoch_hours: float) -> float:
    """The inverse of `half_life_from_epoch_weight`."""
    return teacher_momentum(epoch_hours * SECONDS_PER_HOUR, half_life_hours)


def half_life_from_kaizen(alpha: float, delta_steps: int, batch_seconds: float) -> float:
    """Half-life of Kaizen's pair (arXiv 2106.07759): every Delta steps the teacher keeps alpha of itself."""
    return half_life_from_momentum(alpha, delta_steps * batch_seconds)


def kaizen_from_half_life(half_life_hours: float, delta_steps: int, batch_seconds: float) -> float:
    """The alpha that goes with `delta_steps`: the inverse of `half_life_from_kaizen`."""
    return teacher_momentum(delta_steps * batch_seconds, half_life_hours)


# The clock and what hangs on it.


@dataclass
class AudioClock:
    """Audio consumed by applied optimizer steps."""

    seconds: float = 0.0
    steps: int = 0

    @property
    def hours(self) -> float:
        return self.seconds / SECONDS_PER_HOUR

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.steps += 1


def crossed(before_hours: float, after_hours: float, every_hours: float) -> bool:
    """Whether a multiple of `every_hours` lies in (before, after]."""
    return math.floor(after_hours / every_hours) > math.floor(before_hours / every_hours)


def learning_rate_share(optimizer: OptimizerConfig, total_hours: float, hours: float) -> float:
    """Share of the peak learning rate at `hours` of audio: warm-up, plateau, decay.

    Callers pass the middle of the batch about to be used, so that the integral over audio of a linear
    piece of the schedule is the same for every batch size.
    """
    if hours < optimizer.warmup_hours:
        return hours / optimizer.warmup_hours
    if optimizer.decay == "constant":
        return 1.0
    start, end = _decay_span(optimizer, total_hours)
    progress = min(1.0, max(0.0, (hours - start) / max(end - start, 1e-12)))
    remaining = (
        1 - progress if optimizer.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
    )
    return optimizer.final_share + (1.0 - optimizer.final_share) * remaining


def _decay_span(optimizer: OptimizerConfig, total_hours: float) -> tuple[float, float]:
    start = optimizer.decay_start_hours
    return (
        optimizer.warmup_hours if start is None else start,
        optimizer.decay_end_hours or total_hours,
    )


@dataclass
class TeacherSchedule:
    """When the teacher is updated, and with which momentum."""

    half_life_hours: float
    interval_seconds: float
    pending_seconds: float = 0.0
    """Audio consumed since the last update."""

    @classmethod
    def for_batch(cls, config: Config, batch_seconds: float) -> TeacherSchedule:
        """The schedule at a nominal global batch."""
        values = in_force(config, batch_seconds)
        # A nominal interval of k steps must not wait for step k + 1 because a real batch came out a
        # little short: half a batch of tolerance does that.
        interval = (values.teacher_update_steps - 0.5) * batch_seconds
        return cls(values.half_life_hours, interval if values.teacher_update_steps > 1 else 0.0)

    def consume(self, seconds: float) -> float | None:
        """Account for an applied step of `seconds`; the momentum if an update is due, else None."""
        self.pending_seconds += seconds
        if self.pending_seconds < self.interval_seconds:
            return None
        momentum = teacher_momentum(self.pending_seconds, self.half_life_hours)
        self.pending_seconds = 0.0
        return momentum


# The card.


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
    values = in_force(config, batch_seconds)
    start = config.pseudo_label.start_hours
    row = asdict(values)
    row.pop("batch_seconds")
    return {
        "ranks": ranks,
        "global_batch_seconds": batch_seconds,
        "kappa": kappa_of(config, batch_seconds),
        **row,
        "betas": list(values.betas) if values.betas else None,
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
    reference_values = asdict(reference(config))
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
        "half_lives_in_run": config.trainer.total_hours / row["half_life_hours"],
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
