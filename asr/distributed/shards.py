"""Which part of the student's fp32 weights this rank owns, at any ZeRO stage.

A shard is a list of flat fp32 tensors, one for each of the engine's. The optimizer's moments and the
teacher's average have the same layout. Stage 0 owns everything, a tensor a parameter; stages 1 and 2 cut
the concatenation of the parameters into equal parts, one a rank; stage 3 cuts every parameter.

Only this file knows how DeepSpeed lays weights out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn


@dataclass(frozen=True)
class _Place:
    """A parameter inside the (ranks, shard) matrix of a flat tensor's shards on all ranks."""

    name: str
    shape: torch.Size
    start: int
    columns: int | None
    """Stage 3: the parameter fills these columns, row after row. None: it is contiguous."""


@dataclass(frozen=True)
class Part:
    """What a rank owns of a parameter, flat: its fp32 master's and its gradient's values, and not copies."""

    name: str
    shape: torch.Size
    """Of the whole parameter."""
    weight: Tensor
    gradient: Tensor


def copies(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """By name, in memory of their own on the CPU."""
    return {name: values.detach().to("cpu", copy=True).contiguous() for name, values in tensors}


def _is_moment(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


class Shards:
    """The fp32 master weights that this rank owns, and how to see them as whole parameters."""

    def __init__(
        self, weights: Mapping[str, nn.Parameter], engine: Any, ranks: int, rank: int
    ) -> None:
        """`weights` of the student by their names, as its `named_weights` has them; `engine` is DeepSpeed's."""
        self.ranks, self.rank = ranks, rank
        self._optimizer = optimizer = engine.optimizer
        stage = engine.zero_optimization_stage()
        self.is_sharded = stage > 0
        self.masters: list[Tensor]
        """What the optimizer steps."""
        self._places: list[list[_Place]] = []
        # A partitioned parameter has no shape of its own.
        names = {id(p): (n, getattr(p, "ds_shape", p.shape)) for n, p in weights.items()}
        if stage == 0:
            self.masters = list(weights.values())
            self._places = [
                [_Place(*names[id(p)], start=0, columns=None)] for p in weights.values()
            ]
        elif stage < 3:
            if hasattr(optimizer, "bf16_groups"):  # stage 1 in bf16 has an optimizer of its own
                self.masters, groups = optimizer.fp32_groups_flat_partition, optimizer.bf16_groups
            else:
                self.masters = optimizer.single_partition_of_fp32_groups
                groups = optimizer.round_robin_bit16_groups
            for group in groups:
                starts = itertools.accumulate((p.numel() for p in group), initial=0)
                self._places.append(
                    [_Place(*names[id(p)], s, None) for p, s in zip(group, starts, strict=False)]
                )
        else:
            self.masters = optimizer.fp32_partitioned_groups_flat
            for group in optimizer.fp16_groups:
                widths = [p.partition_numel() for p in group]
                starts = itertools.accumulate(widths, initial=0)
                self._places.append(
                    [
                        _Place(*names[id(p)], s, w)
                        for p, s, w in zip(group, starts, widths, strict=False)
                    ]
                )
        self._state = engine.optimizer.optimizer.state if stage else engine.optimizer.state

    def copy_of_masters(self) -> list[Tensor]:
        """A shard that starts as the student."""
        return [master.detach().clone() for master in self.masters]

    def gather(
        self, shard: Sequence[Tensor], dtype: torch.dtype = torch.float32
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, whole tensor) of every parameter, sent as `dtype`. A collective: iterate to the end."""
        for flat, places in zip(shard, self._places, strict=True):
            whole = self._all_ranks(flat.detach().to(dtype))
            for place in places:
                count = place.shape.numel()
                if place.columns is None:
                    values = whole.flatten()[place.start : place.start + count]
                else:
                    values = whole[:, place.start : place.start + place.columns].flatten()[:count]
                yield place.name, values.view(place.shape)

    def whole(self, shard: Sequence[Tensor]) -> dict[str, Tensor]:
        """Whole fp32 tensors by name, on the CPU of the first rank; nothing on the others. A collective."""
        return copies(pair for pair in self.gather(shard) if self.rank == 0)

    def _all_ranks(self, flat: Tensor) -> Tensor:
        """(ranks, shard): the shards of all ranks."""
        if not self.is_sharded or self.ranks == 1:
            return flat.view(1, -1)
        whole = flat.new_empty(self.ranks * flat.numel())
        torch.distributed.all_gather_into_tensor(whole, flat.contiguous())
        return whole.view(self.ranks, -1)

    @torch.no_grad()
    def scatter(self, whole: Mapping[str, Tensor], shard: Sequence[Tensor]) -> None:
        """Put this rank's part of whole parameters into a shard."""
        for flat, places in zip(shard, self._places, strict=True):
            if self.is_sharded:
                flat.zero_()  # what fills up the last rank's part, too
            own = flat.view(-1)
            for place in places:
                in_flat, in_whole = self._owned(place, len(own))
                own[in_flat] = whole[place.name].detach().reshape(-1)[in_whole].to(own.device)

    def _owned(self, place: _Place, length: int) -> tuple[slice, slice]:
        """Where this rank's part of a parameter is: in its flat tensor, `length` long, and in the parameter."""
        row, count = self.rank if self.is_sharded else 0, place.shape.numel()
        if place.columns is None:
            first = row * length  # of the concatenation that this flat tensor is a part of
            start, skipped = max(place.start - first, 0), max(first - place.start, 0)
            owned = max(0, min(count - skipped, length - start))
        else:
            start, skipped = place.start, row * place.columns
            owned = max(0, min(count - skipped, place.columns))
        return slice(start, start + owned), slice(skipped, skipped + owned)

    @torch.no_grad()
    def put_into_network(self) -> None:
        """Put the masters into what forward and backward passes use, as a step does. A collective."""
        optimizer = self._optimizer
        if hasattr(optimizer, "update_lp_params"):  # stages 1 and 2
            optimizer.update_lp_params()
        elif self.is_sharded:
            optimizer._partition_all_parameters()
            for group in range(len(self.masters)):
                optimizer._reassign_or_swap_out_partitioned_parameters(group)
            optimizer._post_step(())  # small ones are whole on every rank

    def gradients(self) -> list[Tensor]:
        """This rank's part of the summed gradient, between the last backward pass and the step."""
        optimizer = self._optimizer
        if not self.is_sharded:
            return [weight.grad for weight in self.masters if weight.grad is not None]
        if hasattr(optimizer, "bf16_groups"):
            return list(optimizer.fp32_groups_gradient_flat_partition)
        return [gradient for group in optimizer.averaged_gradients.values() for gradient in group]

    def parts(self) -> Iterator[Part]:
        """Of every parameter with a gradient, what this rank owns; between the last backward pass and the step.

        A part may come in several pieces.
        """
        if not self.is_sharded:
            for master, [place] in zip(self.masters, self._places, strict=True):
                if master.grad is not None:
                    yield Part(
                        place.name, place.shape, master.detach().view(-1), master.grad.view(-1)
                    )
            return
        for master, places, pieces in zip(
            self.masters, self._places, self._gradients_by_master(), strict=True
        ):
            flat = master.detach().view(-1)
            for start, piece in pieces:
                for place in places:
                    own, _ = self._owned(place, len(flat))
                    low, high = max(own.start, start), min(own.stop, start + len(piece))
                    if low < high:
                        gradient = piece[low - start : high - start]
                        yield Part(place.name, place.shape, flat[low:high], gradient)

    def _gradients_by_master(self) -> Iterator[list[tuple[int, Tensor]]]:
        """(where it starts, values) of the pieces of gradient that lie one behind the other beside a master."""
        optimizer = self._optimizer
        whole = getattr(optimizer, "fp32_groups_gradient_flat_partition", None)
        groups = (
            optimizer.averaged_gradients.values() if whole is None else [[one] for one in whole]
        )
        for group in groups:
            flat = [piece.view(-1) for piece in group]
            starts = itertools.accumulate((len(piece) for piece in flat), initial=0)
            yield list(zip(starts, flat, strict=False))

    def held_gradients(self) -> list[Tensor]:
        """All that DeepSpeed will look at in the step: stage 1 in bf16 keeps the other ranks' parts, too."""
        whole = getattr(self._optimizer, "fp32_groups_gradients_flat", None)
        return self.gradients() if whole is None else list(whole)

    def moments(self) -> dict[str, list[Tensor]]:
        """The optimizer's state, by its names, in the layout of a shard; empty before the first step.

        Scalars (Adam's step) are left out: `optimizer_steps` has them.
        """
        states = [self._state.get(master, {}) for master in self.masters]
        names = {n: None for state in states for n, v in state.items() if _is_moment(v)}
        return {
            name: [
                state[name] if name in state else torch.zeros_like(master.detach())
                for master, state in zip(self.masters, states, strict=True)
            ]
            for name in names
        }

    @property
    def optimizer_steps(self) -> float | dict[str, float] | None:
        """Adam's count of steps; by parameter where they differ, as not all began with the run.

        None for an optimizer without one, or before the first step.
        """
        steps = [self._state.get(master, {}).get("step") for master in self.masters]
        counts = [0.0 if step is None else float(step) for step in steps]
        if all(step is None for step in steps):
            return None
        if len(set(counts)) == 1:
            return counts[0]
        return {
            place.name: count
            for places, count in zip(self._places, counts, strict=True)
            for place in places
        }

    def set_moments(
        self,
        whole: Mapping[str, Mapping[str, Tensor]],
        steps: float | Mapping[str, float] | None,
    ) -> None:
        """Make the optimizer's state from whole tensors, by name of the moment and of the parameter."""
        for master, places in zip(self.masters, self._places, strict=True):
            state: dict[str, Tensor] = {name: torch.zeros_like(master) for name in whole}
            if steps is not None:
                own = [steps[p.name] if isinstance(steps, Mapping) else steps for p in places]
                count = max(own, default=0.0)
                state["step"] = torch.tensor(count, dtype=torch.float32, device=master.device)
            if state:
                self._state[master] = state
        for name, values in whole.items():
            self.scatter(values, [self._state[master][name] for master in self.masters])

    @torch.no_grad()
    def rescale_state(self, names: Sequence[str], factor: float) -> None:
        """Multiply parts of the optimizer's state, where they are there, by `factor`."""
        for master in self.masters:
            state = self._state.get(master, {})
            for name in names:
                if name in state:
                    state[name].mul_(factor)

    @torch.no_grad()
    def reset_moments(self) -> None:
        """Reset the optimizer's moments."""
        for master in self.masters:
            for value in self._state.get(master, {}).values():
                if isinstance(value, Tensor):
                    value.zero_()
