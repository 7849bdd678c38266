"""The teacher: an fp32 exponential moving average of the student's fp32 master weights.

It starts as a copy, is always in evaluation mode and hears clean speech. An average in bf16 would
stall at a momentum near 1, so average and source are fp32 whatever the engine's precision.

Buffers: the model has none that training changes; any there are get copied, not averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from asr.model import AcousticModel


def master_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(name, fp32 weight) of every parameter, whatever ZeRO stage or precision holds it.

    A collective under ZeRO 1 to 3: every rank must iterate to the end.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    for name, parameter in module.named_parameters():
        full = safe_get_full_fp32_param(parameter)
        yield name, (parameter.detach() if full is None else full).float()


class Teacher:
    """The average, ready to label with."""

    def __init__(self, student: AcousticModel, device: torch.device) -> None:
        """Start as a copy of `student`, which must not yet be partitioned by an engine."""
        self.model = deepcopy(student).float().to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """average <- momentum * average + (1 - momentum) * student.

        `momentum` is scaling.TeacherSchedule's, from the seconds of audio since the last update.
        """
        averages = dict(self.model.named_parameters())
        names, sources = zip(*master_weights(student), strict=True)
        targets = [averages[name].data for name in names]
        torch._foreach_lerp_(targets, list(sources), 1.0 - momentum)
        for ours, theirs in zip(self.model.buffers(), student.buffers(), strict=True):
            ours.copy_(theirs)

    @torch.no_grad()
    def distance(self, student: nn.Module) -> float:
        """Norm of (average - student) over norm of the student. A collective under ZeRO 1 to 3."""
        averages = dict(self.model.named_parameters())
        difference = norm = 0.0
        for name, weight in master_weights(student):
            difference += float((averages[name] - weight).square().sum())
            norm += float(weight.square().sum())
        return (difference / norm) ** 0.5 if norm else 0.0
