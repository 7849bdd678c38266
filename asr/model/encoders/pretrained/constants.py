"""What no training changes of a pretrained network: statistics, tables, and weights beside adapters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class Constants:
    """Of one network: neither trained, averaged nor among its weights, and of the same type as these."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.values: dict[str, Tensor] = {}
        """Those that are saved, by name; fp32 where they are no counts."""
        self._held: list[tuple[nn.Module, str, Tensor | None]] = []

    def hold(self, names: Iterable[str]) -> None:
        """Make constants of these parameters and buffers.

        What is saved is a copy, since an engine may cast the module's own.
        """
        for name in list(names):
            module, own, value = _made_constant(self.network, name)
            self.values[name] = value.clone()
            self._held.append((module, own, self.values[name]))

    def hold_all_but_adapters(self) -> None:
        """All weights. They are not saved: a hash says which they are (base.py)."""
        for name in dict(self.network.named_parameters()):
            if ".lora_" not in name:
                module, own, _ = _made_constant(self.network, name)
                self._held.append((module, own, None))

    def set(self, found: Mapping[str, Tensor]) -> None:
        """Put them in place. Raises KeyError or RuntimeError where one is missing or has another shape."""
        for index, name in enumerate(self.values):
            module, own, _ = self._held[index]
            value = found[name].clone()
            module.get_buffer(own).copy_(value)
            self.values[name], self._held[index] = value, (module, own, value)

    def cast(self, dtype: torch.dtype) -> None:
        """To that of the weights, which an engine casts without them."""
        for module, own, value in self._held:
            now = module.get_buffer(own)
            if now.is_floating_point() and now.dtype != dtype:
                whole = now if value is None else value  # casting twice would lose twice
                with torch.inference_mode(False):  # what an evaluation casts a backward pass needs
                    module._buffers[own] = whole.to(now.device, dtype)


def weights_sha256(*networks: nn.Module) -> str:
    """Of the weights of these, their names and values; of shapes alone, empty."""
    digest = hashlib.sha256()
    for network in networks:
        for name, weight in sorted(network.named_parameters()):
            if weight.is_meta:
                return ""
            digest.update(name.encode())
            digest.update(weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _made_constant(network: nn.Module, name: str) -> tuple[nn.Module, str, Tensor]:
    """Its module, its name there, and what it is."""
    path, _, own = name.rpartition(".")
    module = network.get_submodule(path)
    value: Tensor = getattr(module, own).detach()
    value = value.float() if value.is_floating_point() else value
    module._parameters.pop(own, None)
    module._buffers.pop(own, None)
    module.register_buffer(own, value.clone(), persistent=False)
    return module, own, value
