"""A device that is not the CPU's and yet computes: mix-ups fail, and what a GPU would wait for is counted.

A far tensor says that it is on the device `meta` and holds a CPU tensor with its values. Between a far and a
near tensor nothing is computed, as between two devices, but for scalars and for copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

FAR = torch.device("meta")
M = TypeVar("M", bound=nn.Module)

_MAY_MIX = {"_to_copy", "copy_", "index", "index_put", "index_put_", "_index_put_impl_", "set_"}
_MAY_MIX |= {"_ctc_loss", "_ctc_loss_backward"}  # they want lengths on the host
_WAIT = {
    "_local_scalar_dense",
    "nonzero",
    "item",
    "equal",
    "masked_select",
    "_unique2",
    "unique_consecutive",
}
"""Operations whose result, or its shape, the host must know: it waits until the device is done."""

waits: list[str] = []
"""What waited since `counted` began."""


class Far(Tensor):
    """On the far device."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Self:
        wrapped = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            near.shape,
            near.stride(),
            near.storage_offset(),
            dtype=near.dtype,
            device=FAR,
            requires_grad=near.requires_grad,
        )
        wrapped.near = near
        return wrapped  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        waits.append("tolist")
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    name = func._schema.name.removeprefix("aten::")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = [tensor for tensor in tensors if isinstance(tensor, Far)]
    if far and name not in _MAY_MIX:
        near = [tensor for tensor in tensors if not isinstance(tensor, Far) and tensor.dim()]
        if near:
            raise RuntimeError(f"{name}: tensors of two devices")
    to = kwargs.get("device")
    comes_back = name == "_to_copy" and to is not None and torch.device(to).type == "cpu"
    if far and (name in _WAIT or comes_back):
        waits.append(name)
    if to is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = func(
        *tree_map_only(Far, lambda t: t.near, args),
        **tree_map_only(Far, lambda t: t.near, dict(kwargs)),
    )
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():
            func(*args, **kwargs)
    if not (torch.device(to) == FAR if to is not None else bool(far)):
        return result
    known = {
        id(tensor.near): tensor for tensor in far
    }  # what is changed in place stays that object
    return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else Far(t), result)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _computed(func, args, kwargs or {})


@contextmanager
def far_device() -> Iterator[list[str]]:
    """Within it there is a far device; gives the list of what waited."""
    real = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made: Tensor = real(data, **options)  # `torch.tensor` on meta would forget the values
        return Far(made) if device is not None and torch.device(device) == FAR else made

    torch.tensor = tensor
    waits.clear()
    try:
        with _Mode():
            yield waits
    finally:
        torch.tensor = real


def moved(module: M) -> M:
    """A module whose parameters and buffers are on the far device."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(
                    Far(parameter.detach().clone()), requires_grad=parameter.requires_grad
                )
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = Far(buffer)
    return module
