"""The teacher: an fp32 exponential moving average of the student's fp32 master weights.

It starts as a copy, is always in evaluation mode and hears clean speech. An average in bf16 would
stall at a momentum near 1, so average and source are fp32 whatever the engine's precision. Each rank
averages the part of the weights that it owns, so an update communicates nothing; the copy that labels
is put together when somebody wants to label with an average that has moved.

Buffers: the model has none that training changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from asr.distributed import Ranks
from asr.model import AcousticModel
from asr.shards import Shards


class Teacher:
    """The average, and a model to label with."""

    def __init__(self, labeller: AcousticModel, shards: Shards, ranks: Ranks) -> None:
        """Start as the student is; `labeller` is a module of its shapes, which becomes the teacher's own."""
        self.shards, self.ranks = shards, ranks
        self._model = labeller.float().to(ranks.device).eval().requires_grad_(False)
        if self.shards.is_sharded:
            self._average = self.shards.copy_of_masters()
        else:  # the model that labels is the average
            self._average = [parameter.data for parameter in self._model.parameters()]
            self.begin_anew()
        self._moved = True
        self._kept: list[list[Tensor]] = []

    @torch.no_grad()
    def update(self, momentum: float) -> None:
        """average <- momentum * average + (1 - momentum) * student, on the shard that this rank owns.

        `momentum` is scaling.TeacherSchedule's, from the seconds of audio since the last update.
        """
        torch._foreach_lerp_(
            self._average, [master.detach() for master in self.shards.masters], 1.0 - momentum
        )
        self._moved = True

    @torch.no_grad()
    def model(self) -> AcousticModel:
        """The model to label with, up to date. A collective under ZeRO 1 to 3."""
        if self._moved and self.shards.is_sharded:
            parameters = dict(self._model.named_parameters())
            for name, values in self.shards.gather(self._average):
                parameters[name].copy_(values)
        self._moved = False
        return self._model

    def weights(self) -> dict[str, Tensor]:
        """The whole average by name, on the CPU. A collective under ZeRO 1 to 3."""
        return {name: p.detach().cpu().contiguous() for name, p in self.model().named_parameters()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from what `weights` returned, on whatever ranks and at whatever ZeRO stage."""
        self._model.load_state_dict(weights)
        self.shards.scatter(weights, self._average)
        self._moved = False

    @property
    def kept(self) -> int:
        """Former states that are kept, at most two."""
        return len(self._kept)

    def keep(self) -> None:
        """Keep this rank's shard as it is, on the CPU, beside the one kept before."""
        self._kept = [*self._kept[-1:], [average.to("cpu", copy=True) for average in self._average]]

    @torch.no_grad()
    def go_back(self) -> None:
        """Be the older of the states that are kept: the newer one may have been caught by what is wrong now."""
        del self._kept[1:]
        for average, kept in zip(self._average, self._kept[0], strict=True):
            average.copy_(kept)
        self._moved = True

    def is_finite(self) -> bool:
        """Whether the whole average is. A collective."""
        return not self.ranks.sum([float(sum((~a.isfinite()).sum() for a in self._average))])[0]

    @torch.no_grad()
    def begin_anew(self) -> None:
        """Be as the student is."""
        for average, master in zip(self._average, self.shards.masters, strict=True):
            average.copy_(master.detach())
        self._moved = True

    def kept_weights(self, number: int) -> dict[str, Tensor]:
        """A kept state as a whole, by name, on the CPU. A collective under ZeRO 1 to 3."""
        device = self.ranks.device
        shard = [kept.to(device) for kept in self._kept[number]]
        return {name: w.cpu().clone() for name, w in self.shards.gather(shard)}

    def load_kept(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """What `kept_weights` returned, oldest first."""
        self._kept = []
        for weights in states:
            shard = [torch.empty_like(average, device="cpu") for average in self._average]
            self.shards.scatter(weights, shard)
            self._kept.append(shard)

    @torch.no_grad()
    def distance(self) -> float:
        """Norm of (average - student) over norm of the student. A collective."""
        sums = [0.0, 0.0]
        for average, master in zip(self._average, self.shards.masters, strict=True):
            sums[0] += float((average - master).square().sum())
            sums[1] += float(master.square().sum())
        difference, norm = self.ranks.sum(sums)  # of replicas at stage 0: the ratio is the same
        return (difference / norm) ** 0.5 if norm else 0.0
