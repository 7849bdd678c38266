"""What is allocated: by a GPU for a forward and backward pass, without one; by this process, as it is."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from deepspeed.runtime.zero.linear import zero3_linear_wrap
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asr.config.schema import Config
from asr.distributed.precision import Precision
from asr.model.acoustic_model import AcousticModel
from asr.model.dropout import Dropout
from asr.model.make import make_model


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        made = function(*arguments, **(options or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return made

    def leave_out(self, tensor: Tensor) -> None:
        self._known[tensor.untyped_storage()._cdata] = None

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self.now += size
            self._known[key] = weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        del self._known[key]
        self.now -= size


def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor, **_: Any) -> Tensor:
    """The kernel that a GPU takes for masked attention; without a GPU torch would take another."""
    bias = torch.zeros_like(attn_mask, dtype=query.dtype)
    shape = (*query.shape[:3], key.shape[2])
    attended: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias.expand(shape), True
    )[0]
    return attended


def _dropout(hidden: Tensor, p: float, training: bool, inplace: bool = False) -> Tensor:
    return torch.native_dropout(hidden, p, training)[0] if training and p else hidden


_layer_norm = functional.layer_norm


def _fp32_layer_norm(hidden: Tensor, *arguments: Any) -> Tensor:
    """As CUDA's autocast has it."""
    return _layer_norm(hidden.float(), *arguments)


@contextmanager
def _as_a_gpu(device: str, precision: Precision, stage: int) -> Iterator[None]:
    """What CUDA's kernels and its autocast do, on tensors without contents that lie on `device`."""
    patches = {"scaled_dot_product_attention": _attention}
    if stage == 3:
        patches["linear"] = zero3_linear_wrap
    if device == "cpu":
        patches["dropout"] = _dropout
    if device == "cpu" and precision.autocast:
        patches["layer_norm"] = _fp32_layer_norm
    # torch.autocast refuses CUDA where there is none.
    torch.set_autocast_enabled(device, precision.autocast is not None)
    torch.set_autocast_dtype(device, torch.bfloat16)
    try:
        with (
            mock.patch.multiple(functional, **patches),
            mock.patch.object(Dropout, "forward", nn.Dropout.forward),
            mock.patch("asr.model.attention._SHORT_FRAMES", 0),  # a GPU has no such way
        ):
            yield
    finally:
        torch.set_autocast_enabled(device, False)
        torch.clear_autocast_cache()


def _empty_model(config: Config, vocabulary: int, device: str) -> AcousticModel:
    torch.set_default_dtype(getattr(torch, Precision.of(config).weights))
    try:
        with torch.device(device):
            return make_model(config, vocabulary).train()
    finally:
        torch.set_default_dtype(torch.float32)


def activation_bytes_of_a_gpu(
    config: Config, vocabulary: int, lengths: list[int], device: str = "cpu"
) -> dict[str, int]:
    """Bytes beyond weights: `kept` after the forward pass, and on the CPU the `peak` of both passes.

    Utterances of `lengths` feature frames. Nothing is computed: tensors have no contents. The peak is
    without gradients of weights.
    """
    precision = Precision.of(config)
    with FakeTensorMode():
        model = _empty_model(config, vocabulary, device)
        live = LiveBytes()
        for weight in model.parameters():
            live.leave_out(weight)
        with live:
            features = torch.empty(
                len(lengths), max(lengths), config.features.mel_bins, device=device
            )
            frames = torch.tensor(lengths, device=device)
            with _as_a_gpu(device, precision, config.trainer.zero_stage):
                logits, _ = model(features.to(model.head.weight.dtype), frames)
            log_probabilities = logits.float().log_softmax(-1)
            found = {"kept": live.now}
            if device == "cpu":
                loss = log_probabilities.sum()
                for weight in model.parameters():
                    weight.register_post_accumulate_grad_hook(_forget)
                with _as_a_gpu(device, precision, config.trainer.zero_stage):  # what is recomputed
                    loss.backward()
                found["peak"] = live.peak
    return found


def held_bytes() -> int:
    """Of all storages that tensors of this process have now."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
    storages = [t.untyped_storage() for t in tensors if t.device.type == "cpu"]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that `work` held at a time beyond what there was before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as noted:
        work()
    events = noted.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in changes))


def _forget(weight: Tensor) -> None:
    weight.grad = None
