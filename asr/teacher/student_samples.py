"""What an update of an average takes of the student: its weights after, before or amid the audio of the update.

The student moves in jumps, a step of the optimizer each. An average that takes the weights after each jump
runs ahead of the continuous path by half a step, one that takes those before it lags by half a step, and so
both depend on the batch; the midpoint of the two (the trapezoidal rule) does to second order only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from asr.distributed.shards import Shards

Convention = Literal["midpoint", "after", "before"]


class StudentSamples:
    """The student's fp32 masters, and but for `after` those at the update before; in the layout of a shard."""

    def __init__(self, shards: Shards, convention: Convention = "after") -> None:
        self.shards, self.convention = shards, convention
        self._last = None if convention == "after" else shards.copy_of_masters()

    @torch.no_grad()
    def take(self) -> Sequence[Tensor]:
        """What an update takes now; valid until `settle`."""
        masters = self._masters
        if self._last is None:
            return masters
        if self.convention == "midpoint":
            torch._foreach_lerp_(self._last, masters, 0.5)
        return self._last

    @torch.no_grad()
    def settle(self) -> None:
        """The update is done, or the student jumped by other means than a step: the next one begins here."""
        if self._last is not None:
            torch._foreach_copy_(self._last, self._masters)

    def tensors(self) -> dict[str, Tensor]:
        """The weights at the last update, whole, on the CPU of the first rank; none where none are kept.

        A collective.
        """
        return {} if self._last is None else self.shards.whole(self._last)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` returned; where that is empty, from the student as it is."""
        if self._last is not None and weights:
            self.shards.scatter(weights, self._last)
        else:
            self.settle()

    @property
    def _masters(self) -> list[Tensor]:
        return [master.detach() for master in self.shards.masters]
