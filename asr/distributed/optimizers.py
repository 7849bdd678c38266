"""torch's optimizers by the names that recipes give them; asr/scaling/optimizers.py has their rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from asr.config.schema import OptimizerConfig
from asr.scaling.rule import Hyperparameters

Constructor = Callable[
    [Sequence[nn.Parameter], OptimizerConfig, Hyperparameters], torch.optim.Optimizer
]


def _adamw(
    parameters: Sequence[nn.Parameter], config: OptimizerConfig, values: Hyperparameters
) -> torch.optim.Optimizer:
    """AdamW without decay is Adam, and a recipe allows Adam none. Fused is the fast implementation."""
    assert values.betas is not None
    assert values.eps is not None
    return torch.optim.AdamW(
        parameters,
        lr=values.learning_rate,
        betas=values.betas,
        eps=values.eps,
        weight_decay=values.weight_decay,
        fused=True,
    )


def _sgd(
    parameters: Sequence[nn.Parameter], config: OptimizerConfig, values: Hyperparameters
) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=values.learning_rate,
        momentum=config.momentum,
        weight_decay=values.weight_decay,
    )


CONSTRUCTORS: dict[str, Constructor] = {"adam": _adamw, "adamw": _adamw, "sgd": _sgd}


def put_in_force(
    optimizer: torch.optim.Optimizer, values: Hyperparameters, learning_rate: float
) -> None:
    """Set the values of the moment in all of an optimizer's groups; betas and eps where it has them."""
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = learning_rate, values.weight_decay
        if values.betas is not None:
            group["betas"], group["eps"] = values.betas, values.eps
