"""A device that is not the CPU's and yet computes: mix-ups fail, and what a GPU would wait for is counted.

A far tensor says that it is on the device `meta` and holds a CPU tensor with its values. Between a far and a
near tensor nothing is computed, as between two devices, but for scalars and for copies. Modules move there with
`to`, and DeepSpeed takes it for its accelerator, so that whole trainings run on it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any, Self, TypeVar
from unittest import mock

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
"""What waited since `far_device` began, and the module of ours that made it wait."""
touched: set[str] = set()
"""Modules of ours that led to an operation on a far tensor since the process began."""


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

    @property
    def data(self) -> Any:
        return self.detach()

    @data.setter
    def data(self, new: Any) -> None:
        with no_dispatch():
            torch._C.TensorBase.data.__set__(self, new)  # type: ignore[attr-defined]
        self.near = new.near

    def __getitem__(self, index: Any) -> Any:
        return Tensor.__getitem__(self, _there(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        Tensor.__setitem__(self, _there(index), value)

    def tolist(self) -> Any:
        _note_wait("tolist")
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _computed(func, args, kwargs or {})


def _on_the_way() -> Iterator[str]:
    """Modules of ours that led here, the nearest first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("asr."):
            yield name
        frame = frame.f_back


def _note_wait(name: str) -> None:
    asker = next((one for one in _on_the_way() if one != "asr.utils.devices"), "")
    waits.append(f"{name} in {asker}" if asker else name)


def _there(index: Any) -> Any:
    """Indices in lists become a tensor there, which on the way would lose its values."""
    if isinstance(index, tuple):
        return tuple(_there(one) for one in index)
    return _far_tensor(index, device=FAR) if isinstance(index, list) else index


def _is_waited_for(
    name: str, far: list[Far], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Whether the host would wait until a GPU has done all that it was given before."""
    to = kwargs.get("device")
    if name == "_to_copy":
        is_there = isinstance(args[0], Far)
        goes = to is not None and (torch.device(to) == FAR) != is_there
        # From memory that is not pinned, or to memory that is read at once.
        return goes and not kwargs.get("non_blocking")
    if name == "copy_":
        is_there, comes = (isinstance(one, Far) for one in args[:2])
        return is_there != comes and (comes or not (args[2:] or kwargs.get("non_blocking")))
    if name.startswith("index"):  # indices on the host are sent
        return bool(far) and any(
            isinstance(t, Tensor) and not isinstance(t, Far) for t in tree_leaves(args[1])
        )
    if name.startswith("_ctc_loss"):
        return any(isinstance(one, Far) for one in args[2 + name.endswith("backward") :][:2])
    return bool(far) and name in _WAIT


def _computed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    name = func._schema.name.removeprefix("aten::")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = [tensor for tensor in tensors if isinstance(tensor, Far)]
    if far and name not in _MAY_MIX:
        near = [tensor for tensor in tensors if not isinstance(tensor, Far) and tensor.dim()]
        if near:
            raise RuntimeError(f"{name}: tensors of two devices")
    if far:
        touched.update(_on_the_way())
    to = kwargs.get("device")
    if _is_waited_for(name, far, args, kwargs):
        _note_wait(name)
    if to is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = func(
        *tree_map_only(Far, lambda t: t.near, args),
        **tree_map_only(Far, lambda t: t.near, dict(kwargs)),
    )
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():
            func(*args, **kwargs)
    if name == "copy_" and not isinstance(args[0], Far):
        return result
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


_tensor, _autocast, _generator = torch.tensor, torch.autocast, torch.Generator
_autocast_dtype = torch.get_autocast_dtype


def _far_tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    """`torch.tensor` on meta would forget the values."""
    made: Tensor = _tensor(data, **options)
    if device is not None and torch.device(device) == FAR:
        _note_wait("tensor")  # copied from memory that is not pinned
    return Far(made) if device is not None and torch.device(device) == FAR else made


class _OfGenerators(type):
    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return _generator("cpu" if torch.device(device) == FAR else device)

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, _generator)


class _FarGenerator(metaclass=_OfGenerators):
    """The far device's draws are the CPU's."""


def _far_autocast(device_type: str, *given: Any, **options: Any) -> Any:
    """There is none for meta: what it computes stays in the precision that it has."""
    if device_type == FAR.type:
        return nullcontext()
    return _autocast(device_type, *given, **options)


def _far_autocast_dtype(device_type: str) -> torch.dtype:
    return torch.bfloat16 if device_type == FAR.type else _autocast_dtype(device_type)


def _enter_inference(mode: Any) -> None:
    """As `no_grad`: a wrapped tensor has no version counter to leave out."""
    mode.had_gradients = torch.is_grad_enabled()
    torch.set_grad_enabled(False)


def _leave_inference(mode: Any, *_: Any) -> None:
    torch.set_grad_enabled(mode.had_gradients)


def _swap(one: Tensor, other: Tensor) -> None:
    """As torch's own, so that a module's parameters stay these objects, whoever refers to them."""
    one.__class__, other.__class__ = other.__class__, one.__class__
    torch._C._swap_tensor_impl(one, other)  # type: ignore[attr-defined]
    own, others = (
        {k: t.__dict__.pop(k) for k in _OF_KIND & t.__dict__.keys()} for t in (one, other)
    )
    one.__dict__.update(others)
    other.__dict__.update(own)


_OF_KIND = {"near", "_is_param"}


@contextmanager
def far_device() -> Iterator[list[str]]:
    """Within it there is a far device; gives the list of what waited."""
    from deepspeed.accelerator import get_accelerator

    accelerator = type(get_accelerator())
    fused = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    patches = [
        mock.patch.multiple(
            torch,
            tensor=_far_tensor,
            autocast=_far_autocast,
            Generator=_FarGenerator,
            get_autocast_dtype=_far_autocast_dtype,
        ),
        mock.patch.multiple(
            torch.inference_mode, __enter__=_enter_inference, __exit__=_leave_inference
        ),
        mock.patch.multiple(
            accelerator,
            device_name=lambda *_: FAR.type,
            current_device_name=lambda *_: FAR.type,
            device=lambda *_: FAR,
        ),
        mock.patch.object(torch.utils, "swap_tensors", _swap),
        mock.patch(fused, return_value=[FAR.type, "cpu"]),
    ]
    waits.clear()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with ExitStack() as entered:
            for patch in patches:
                entered.enter_context(patch)
            entered.enter_context(_Mode())
            yield waits
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


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
