"""torch's optimizers by the names that recipes give them; asr/scaling/optimizers.py has their rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from asr.config.schema import OptimizerConfig
from asr.scaling.rule import Hyperparameters

Groups = list[dict[str, Any]]
"""As torch's optimizers take them: `params`, and what else belongs to them."""
Constructor = Callable[[Groups, OptimizerConfig, Hyperparameters], torch.optim.Optimizer]


def _adamw(
    groups: Groups, config: OptimizerConfig, values: Hyperparameters
) -> torch.optim.Optimizer:
    """AdamW without decay is Adam, and a recipe allows Adam none. Fused is the fast implementation."""
    assert values.betas is not None
    assert values.eps is not None
    return torch.optim.AdamW(
        groups,
        lr=values.learning_rate,
        betas=values.betas,
        eps=values.eps,
        weight_decay=values.weight_decay,
        fused=True,
    )


def _sgd(groups: Groups, config: OptimizerConfig, values: Hyperparameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups,
        lr=values.learning_rate,
        momentum=config.momentum,
        weight_decay=values.weight_decay,
    )


CONSTRUCTORS: dict[str, Constructor] = {"adam": _adamw, "adamw": _adamw, "sgd": _sgd, "lars": _sgd}
"""LARS turns the gradients before (asr/distributed/lars.py)."""


def put_in_force(
    optimizer: torch.optim.Optimizer, values: Hyperparameters, learning_rate: float
) -> None:
    """Set the values of the moment in all of an optimizer's groups; betas and eps where it has them.

    A group has its own `share` of the learning rate.
    """
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = learning_rate * group["share"], values.weight_decay
        if values.betas is not None:
            group["betas"], group["eps"] = values.betas, values.eps
