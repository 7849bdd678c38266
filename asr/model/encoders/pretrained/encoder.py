"""What the pretrained families share: layers that utterances skip, dropout by utterance, constants, files.

A family's own loop walks over transformers' modules, so that masks, LayerDrop and SpecAugment are ours and
padding leaks nowhere.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D width, V vocabulary,
L layers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from asr.model.dropout import Dropout
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.pretrained.base import Base
from asr.model.encoders.pretrained.constants import Constants
from asr.model.features import FrontEnd, frame_mask
from asr.model.masks import masked
from asr.utils.files import write_tensors

FOLDER = "pretrained"
"""Of a checkpoint: what builds the encoder again, without its weights."""
CONSTANTS_FILE = "buffers.safetensors"


class CtcHead(NamedTuple):
    """The head of a whole CTC model."""

    weight: Tensor
    """(V, D)"""
    bias: Tensor
    """(V,)"""
    vocabulary: tuple[str, ...]
    """V tokens: the blank is empty, the word boundary a space."""


class PretrainedEncoder(Encoder):
    """An encoder of transformers', `network`, behind our interface."""

    network: Any
    """transformers' module; its parameters are ours."""
    max_seconds: float | None = None
    """Longest utterance that it can take; None where positions have no end."""
    wants_silence: bool = False
    """Whether a decoder wants silence behind what it heard, as it was trained with."""
    notes: tuple[str, ...] = ()
    """What a user should know of how its padding is dealt with, a line each."""

    def __init__(self, network: Any, config: Any, extractor: Any, width: int) -> None:
        """`config` and `extractor` are transformers' own, as they were loaded; `width` is D."""
        super().__init__()
        self.network, self.config, self.extractor = network, config, extractor
        self.width = width
        self.head: CtcHead | None = None
        self._is_front_end_frozen = self._are_layers_frozen = False
        self.source = ""
        """Whence it was loaded: a folder or a hub id."""
        self.base_sha256: str | None = None
        """Of the model's weights, where these are constants beside adapters (lora.py)."""
        self._constants = Constants(network)
        self._constants.hold(name for name, _ in self._persistent_buffers())
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                # Else it wants its count of batches in every set of weights that is loaded.
                module.track_running_stats = False
        # Softmax does not feel a bias of the keys: Adam would make full steps of its gradient's rounding noise.
        names = ("k_proj.bias", "linear_k.bias")
        self._constants.hold([n for n, _ in network.named_parameters() if n.endswith(names)])
        self.set_attention_dropout(0.0)

    @abstractmethod
    def front_end(self) -> FrontEnd:
        """The family's own features, as its feature extractor has them."""

    @abstractmethod
    def depth(self, name: str) -> int:
        """How deep the parameter of this name lies: 0 the front end, 1 to L the layers, L + 1 what follows."""

    @abstractmethod
    def _enter(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Hidden states (B, S, D) before the first layer."""

    @abstractmethod
    def _layers(self, frames: int, reach: int | None) -> list[Callable[[Tensor, Tensor], Tensor]]:
        """L layers, (hidden states (B, S, D), mask (B, S)) -> hidden states, for S = `frames`."""

    @abstractmethod
    def _leave(self, hidden_BSD: Tensor) -> Tensor:
        """Hidden states after the last layer -> the encoder's."""

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        self._constants.cast(next(self.network.parameters()).dtype)
        with self._drawing(features_BTF.device):
            frames_B, learns = self.output_lengths(lengths_B), torch.is_grad_enabled()
            with torch.set_grad_enabled(learns and not self._is_front_end_frozen):
                hidden_BSD = self._enter(features_BTF, lengths_B)
            with torch.set_grad_enabled(learns and not self._are_layers_frozen):
                mask_BS = frame_mask(frames_B.clamp(min=1), hidden_BSD.shape[1])
                for index, layer in enumerate(self._layers(hidden_BSD.shape[1], reach)):
                    kept_B = None if kept_BL is None else kept_BL[:, index]
                    hidden_BSD = self._through(layer, hidden_BSD, mask_BS, kept_B)
                return self._leave(hidden_BSD), frames_B

    def _drawing(self, device: torch.device) -> AbstractContextManager[object]:
        return our_dropout(self, device)

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """Batch statistics are the pretrained model's for ever."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def freeze(self, front_end: bool, layers: bool) -> None:
        """Whether the front end, and the layers with what follows, get no gradient and cost no backward pass.

        Frozen layers stand on a frozen front end.
        """
        self._is_front_end_frozen, self._are_layers_frozen = front_end or layers, layers

    def set_dropout(self, dropout: float, layer_drop: float) -> None:
        """All but that of the attention weights, which has a method of its own."""
        self.layer_drop = layer_drop
        inside = {id(part) for module in self.attention() for part in module.modules()}
        outside = [module for module in self._own_modules() if id(module) not in inside]
        _set_rates(outside, ("dropout", "activation_dropout"), dropout)

    def set_attention_dropout(self, rate: float) -> None:
        """Of the attention weights, which torch draws for the micro-batch, not for an utterance; 0 at first."""
        inside = {id(part) for module in self.attention() for part in module.modules()}
        own = [module for module in self._own_modules() if id(module) in inside]
        _set_rates(own, ("dropout", "attention_dropout"), rate)

    def attention(self) -> list[nn.Module]:
        """The attention of its layers."""
        return [m for m in self.network.modules() if type(m).__name__.endswith("Attention")]

    def _own_modules(self) -> list[nn.Module]:
        """Without adapters, whose dropout is their own."""
        return [m for name, m in self.network.named_modules() if ".lora_" not in name]

    def head_weights(self) -> CtcHead | None:
        """The CTC head that the pretrained model came with; None where it had none or weights were not read."""
        return self.head

    def save(self, folder: Path) -> None:
        """Write what `load_encoder(folder, with_weights=False)` needs, into `folder`/pretrained."""
        target = folder / FOLDER
        target.mkdir(exist_ok=True)
        self.config.save_pretrained(target)
        self.extractor.save_pretrained(target)
        if self.base_sha256 is not None:
            Base(self.source, self.base_sha256).save(target)
        elif self.constants():
            write_tensors(target / CONSTANTS_FILE, self.constants())

    def constants(self) -> Mapping[str, Tensor]:
        """What no training changes, by name: batch statistics, tables of positions and their like; fp32."""
        return self._constants.values

    def set_constants(self, found: Mapping[str, Tensor]) -> None:
        """Put them in place. Raises KeyError or RuntimeError where one is missing or has another shape."""
        self._constants.set(found)

    def _masked(self, hidden_BSD: Tensor, frames_B: Tensor) -> Tensor:
        """With SpecAugment's masks, a masked frame as the model's pretraining had it where it had any."""
        filling_D = getattr(self.network, "masked_spec_embed", None)
        return masked(hidden_BSD, frames_B, filling_D)

    def _persistent_buffers(self) -> Iterator[tuple[str, Tensor]]:
        names = self.network.state_dict().keys()
        yield from ((name, b) for name, b in self.network.named_buffers() if name in names)

    def hold_weights(self, sha256: str) -> None:
        """Make constants of all weights but adapters; the model's hash says which they are."""
        self.base_sha256 = sha256
        self._constants.hold_all_but_adapters()


def whole_weight(module: nn.Module) -> None:
    """Make one parameter of a weight that torch keeps as length and direction (weight norm).

    Its average is then that of what the network computes with, and ZeRO 3 sees who uses it.
    """
    if parametrize.is_parametrized(module, "weight"):
        with torch.enable_grad():  # without, it would be a buffer
            parametrize.remove_parametrizations(module, "weight")


def _set_rates(modules: Iterable[nn.Module], names: Sequence[str], rate: float) -> None:
    for module in modules:
        if isinstance(module, nn.Dropout):
            module.p = rate
        for name in names:
            if isinstance(getattr(module, name, None), float | int):
                setattr(module, name, rate)


def seen(mask_BS: Tensor, reach: int | None) -> Tensor:
    """Boolean attention mask, (B, 1, 1, S) or within `reach` (B, 1, S, S): the valid frames, and oneself."""
    if reach is None:
        return mask_BS[:, None, None, :]
    places_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
    distance_SS = (places_S[:, None] - places_S).abs()
    return (mask_BS[:, None, None, :] & (distance_SS <= reach)) | (distance_SS == 0)


def our_dropout(module: nn.Module, device: torch.device) -> AbstractContextManager[object]:
    """Inside of it a module's dropout is drawn for each utterance, where it trains on a CPU."""
    return _OurDropout() if module.training and device.type == "cpu" else nullcontext()


class _OurDropout(TorchFunctionMode):
    """Inside of it torch's dropout is ours, which draws for each utterance; that of attention stays."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is nn.functional.dropout:
            return _dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _dropout(
    hidden: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    return Dropout(p).train(training)(hidden)
