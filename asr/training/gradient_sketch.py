"""Inner products of the gradients of a measured batch's parts, from folded copies of them.

A gradient is folded into a vector of a fixed width: its entries get random signs, and those that lie a width
apart are added up (a count sketch: Charikar et al. 2002, "Finding Frequent Items in Data Streams"). Inner
products of folded vectors are those of the gradients, on average over the signs, with an error of about
the norms' product over the root of the width; of a model no larger than the width they are exact. Since
folding is linear, a part's micro-batches may be anywhere: on any rank, in any order, at any ZeRO stage;
only folded vectors are added over ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.distributed.process_group import Ranks
from asr.utils.seeds import hash_seed

_WIDTH = 1 << 16


class GradientSketch:
    """Folds what backward passes add to the gradients, while its hooks are there: for one batch."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        parts: int,
        seed: Sequence[int],
        width: int = _WIDTH,
    ) -> None:
        """`seed`: of the signs, the same on all ranks, another for each measurement."""
        trained = [p for p in parameters if p.requires_grad]
        # ZeRO 3 keeps parameters empty in between; their hooks receive whole gradients at every stage.
        counts = [int(getattr(p, "ds_numel", p.numel())) for p in trained]
        self.part: int | None = None
        """Whose gradient the next backward pass is of; None: nobody's."""
        device = trained[0].device
        self._rows = torch.zeros(parts, min(width, sum(counts)), device=device)
        starts = np.cumsum([0, *counts]).tolist()
        self._hooks: list[Any] = [
            parameter.register_hook(partial(self._add, hash_seed(*seed, number), start))  # type: ignore[no-untyped-call]
            for number, (parameter, start) in enumerate(zip(trained, starts, strict=False))
        ]

    @torch.no_grad()
    def _add(self, seed: int, start: int, gradient: Tensor) -> None:
        if self.part is None:
            return
        width = self._rows.shape[1]
        generator = torch.Generator(gradient.device).manual_seed(seed)
        signs = torch.randint(
            2, (gradient.numel(),), generator=generator, device=gradient.device, dtype=torch.int8
        )
        signed = gradient.detach().flatten().float() * (2 * signs - 1)
        before = start % width
        after = -(before + len(signed)) % width
        folded = nn.functional.pad(signed, (before, after)).view(-1, width).sum(dim=0)
        self._rows[self.part] += folded.to(self._rows.device)

    def remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def inner_products(self, ranks: Ranks) -> NDArray[np.float64]:
        """(parts, parts): of the parts' gradients, each summed over all ranks. A collective."""
        ranks.add_up(self._rows)
        rows = self._rows.double()
        return np.asarray((rows @ rows.T).cpu().numpy(), dtype=np.float64)
