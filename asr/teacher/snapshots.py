"""Former states of the weights that label, to go back to when labels collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards

_MOST = 2


class Snapshots:
    """At most two states of a shard, on the CPU. Each rank keeps what it owns."""

    def __init__(self, weights: Sequence[Tensor], shards: Shards, ranks: Ranks) -> None:
        """Of `weights`, which have the layout of `shards`."""
        self._weights, self._shards, self._ranks = weights, shards, ranks
        self._kept: list[list[Tensor]] = []

    @property
    def kept(self) -> int:
        return len(self._kept)

    def keep(self) -> None:
        """Keep the weights as they are, beside the state kept before."""
        now = [weight.detach().to("cpu", copy=True) for weight in self._weights]
        self._kept = [*self._kept[1 - _MOST :], now]

    @torch.no_grad()
    def roll_back(self) -> None:
        """Be as the older state: the newer one may have been caught by what is wrong now."""
        del self._kept[1:]
        for weight, kept in zip(self._weights, self._kept[0], strict=True):
            weight.copy_(kept)

    def whole(self, number: int) -> dict[str, Tensor]:
        """A state by name of the parameter, on the CPU of the first rank. A collective under ZeRO 1 to 3."""
        return self._shards.whole([kept.to(self._ranks.device) for kept in self._kept[number]])

    def load(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """What `whole` returned, oldest first; on whatever ranks and at whatever ZeRO stage."""
        self._kept = []
        for whole in states:
            shard = [torch.empty_like(weight, device="cpu") for weight in self._weights]
            self._shards.scatter(whole, shard)
            self._kept.append(shard)
