"""The scaling rule, in one place: (reference hyperparameters, kappa) -> the values in force.

Audio is the clock. A step is no unit of progress, since its size changes with the batch; so schedules
and the teacher's half-life are in hours of audio consumed by applied optimizer steps, and
kappa = batch / reference batch. Nobody else multiplies anything by kappa.

Sources: Busbridge et al. 2023, "How to Scale Your EMA" (arXiv 2307.13813) for the EMA scaling rule;
Malladi et al. 2022 (arXiv 2205.10287) for the square-root rule of Adam.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asr.config.schema import Config
from asr.errors import UserError
from asr.scaling.half_life import (
    evaluation_half_life,
    labelling_half_life,
    shortest_interval_seconds,
)
from asr.scaling.optimizers import OPTIMIZERS

SECONDS_PER_HOUR = 3600.0


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


def reference(config: Config, hours: float = 0.0) -> Hyperparameters:
    """The recipe's own values, at its reference batch and an hour of audio."""
    return _derive(config, config.scaling.reference_batch_seconds, 1.0, hours)


def in_force(config: Config, batch_seconds: float, hours: float = 0.0) -> Hyperparameters:
    """The values at a global batch of `batch_seconds` and an hour of audio, after `scaling.rule`.

    Raises UserError where the linear rule for Adam's betas has no solution.
    """
    return _derive(config, batch_seconds, kappa_of(config, batch_seconds), hours)


def half_life_stretch(config: Config, batch_seconds: float) -> float:
    """Half-life in audio over the recipe's own: 1 with the full rule.

    Without the EMA rule a teacher update does what it does at the reference batch, so that the half-life in
    audio stretches by kappa: this is the ablation that the paper contrasts.
    """
    return 1.0 if config.scaling.rule == "full" else kappa_of(config, batch_seconds)


def half_lives_in_run(config: Config, batch_seconds: float) -> float:
    """Half-lives of the average that labels, from the start of training to its end."""
    half_life = labelling_half_life(config.teacher, config.trainer.total_hours)
    elapsed = half_life.scheduled.elapsed(0.0, config.trainer.total_hours)
    return elapsed / half_life_stretch(config, batch_seconds)


def teacher_interval_seconds(config: Config, batch_seconds: float) -> float:
    """Audio between two teacher updates; of batches that are larger, each is one."""
    interval_seconds = config.teacher.update_interval_seconds
    if interval_seconds is None:
        half_life = labelling_half_life(config.teacher, config.trainer.total_hours)
        second = evaluation_half_life(config.teacher) or half_life
        exact = max(shortest_interval_seconds(half_life), shortest_interval_seconds(second))
        interval_seconds = max(config.scaling.reference_batch_seconds, exact)
    return interval_seconds * half_life_stretch(config, batch_seconds)


def _derive(config: Config, batch_seconds: float, kappa: float, hours: float) -> Hyperparameters:
    optimizer, scaling = config.optimizer, config.scaling
    optimizer_kappa = 1.0 if scaling.rule == "none" else kappa
    root = math.sqrt(optimizer_kappa)
    rule = OPTIMIZERS[optimizer.kind]
    half_life = labelling_half_life(config.teacher, config.trainer.total_hours)
    stretch = half_life_stretch(config, batch_seconds)
    half_life_hours = half_life.at(hours) * stretch
    update_steps = max(1, round(teacher_interval_seconds(config, batch_seconds) / batch_seconds))
    decay_factor = root if scaling.weight_decay == "sqrt" and rule.decay_is_decoupled else 1.0
    clip_divisor = root if scaling.gradient_clipping == "sqrt" else 1.0
    return Hyperparameters(
        batch_seconds=batch_seconds,
        learning_rate=optimizer.learning_rate * rule.learning_rate_factor(optimizer_kappa),
        betas=scale_betas(optimizer.betas, optimizer_kappa, scaling.betas)
        if rule.has_betas
        else None,
        eps=optimizer.eps / root if rule.has_betas else None,
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
            f"the largest kappa allowed is below {1.0 / impossible:g}",
            "use a smaller batch, or scaling.betas=half_life, which is valid for every kappa",
        )
    return 1.0 - kappa * (1.0 - betas[0]), 1.0 - kappa * (1.0 - betas[1])


def teacher_momentum(seconds: float, half_life_hours: float) -> float:
    """rho of a teacher update that covers `seconds` of audio: 0.5^(seconds / half-life).

    Equal to rho_reference^kappa (arXiv 2307.13813, Definition 1.2), and right for dynamic batches, for
    any update interval, for a change of kappa in mid-run, and for a skipped step (0 seconds: rho = 1).
    """
    return float(0.5 ** (seconds / (SECONDS_PER_HOUR * half_life_hours)))
