"""The optimizers: how the rule scales each, and what each keeps besides the weights.

One more needs an entry here, its constructor in asr/distributed/optimizers.py, and its name in
asr/config/schema.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from asr.config.schema import OptimizerConfig


@dataclass(frozen=True)
class OptimizerRule:
    """One optimizer under the scaling rule."""

    learning_rate_factor: Callable[[float], float]
    """Of kappa."""
    has_betas: bool
    """Whether it averages moments by Adam's betas, and divides with eps: both are scaled."""
    decay_is_decoupled: bool
    """Whether weight decay stands apart from the gradient (AdamW)."""
    moments: Callable[[OptimizerConfig], int]
    """Tensors of the weights' size that it keeps."""
    is_layerwise: bool = False
    """Whether each weight's gradient is first made as long as the weight, decay and all (LARS)."""
    second_moments: tuple[str, ...] = ()
    """Of its state, averages of squared gradients: they change with kappa."""
    step_counts: tuple[str, ...] = ()
    """Of its state, counts of steps that correct the bias of young moments: they count audio, and so are
    inversely proportional to kappa."""


def _adam(decay_is_decoupled: bool) -> OptimizerRule:
    """The square-root rule: Malladi et al. 2022, arXiv 2205.10287."""
    return OptimizerRule(
        math.sqrt,
        True,
        decay_is_decoupled,
        lambda config: 2,
        second_moments=("exp_avg_sq",),
        step_counts=("step",),
    )


def _momentum(config: OptimizerConfig) -> int:
    return 1 if config.momentum else 0


OPTIMIZERS: dict[str, OptimizerRule] = {
    "adam": _adam(decay_is_decoupled=False),
    "adamw": _adam(decay_is_decoupled=True),
    # The linear rule: Goyal et al. 2017, arXiv 1706.02677.
    "sgd": OptimizerRule(lambda kappa: kappa, False, False, _momentum),
    # The same, as BYOL has it: 0.2 x batch / 256, weight decay and momentum as they are (arXiv 2006.07733).
    "lars": OptimizerRule(lambda kappa: kappa, False, False, _momentum, is_layerwise=True),
}
