"""Moonshine's encoder (Jeffries et al. 2024, arXiv 2410.15608), which reads the waveform at any length.

Shape suffixes: B utterances, N samples, C channels, T frames of a convolution, S encoder frames, D width,
R rotated width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import UserError
from asr.model.encoders.pretrained.encoder import PretrainedEncoder, seen
from asr.model.encoders.pretrained.wav2vec2 import Waveform
from asr.model.features import frame_mask

_KERNELS_AND_STRIDES = ((127, 64), (7, 3), (3, 2))
"""Of transformers' three convolutions, which no configuration changes."""
_FIELD = 127 + 64 * (6 + 3 * 2)
"""Samples of one encoder frame."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines (1, S, R)."""


class MoonshineEncoder(PretrainedEncoder):
    """Convolutions that do not pad, a group norm over the utterance's own frames, rotary layers."""

    def __init__(self, network: Any, config: Any, extractor: Any) -> None:
        if config.attention_bias or config.rope_parameters["rope_type"] != "default":
            raise UserError(
                "model.encoder: its config.json has attention_bias, or another rope_type than default",
                "take a Moonshine as it was published",
            )
        super().__init__(network, config, extractor, config.hidden_size)
        self.stride, self.layers = 64 * 3 * 2, config.encoder_num_hidden_layers
        self.dropout = 0.0
        self.notes = (
            "group norm over time: by the statistics of each utterance alone",
            "dropout: of what goes into the first layer, since Moonshine has none inside of its layers",
        )

    def front_end(self) -> Waveform:
        return Waveform(self.extractor)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        for kernel, stride in _KERNELS_AND_STRIDES:
            lengths_B = (lengths_B - kernel) // stride + 1
        return lengths_B.clamp(min=0)

    def depth(self, name: str) -> int:
        parts = name.split(".")
        if "layers" in parts:
            return 1 + int(parts[parts.index("layers") + 1])
        return self.layers + 1 if "layer_norm" in parts else 0

    def set_dropout(self, dropout: float, layer_drop: float) -> None:
        super().set_dropout(dropout, layer_drop)
        self.dropout = dropout

    def _enter(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        network, waveforms_BN = self.network, features_BTF
        waveforms_BN = functional.pad(waveforms_BN, (0, max(0, _FIELD - waveforms_BN.shape[1])))
        (kernel, stride), *_ = _KERNELS_AND_STRIDES
        hidden_BCT = functional.tanh(network.conv1(waveforms_BN[:, None]))
        frames_B = ((lengths_B - kernel) // stride + 1).clamp(min=1)
        hidden_BCT = _normalised(network.groupnorm, hidden_BCT, frames_B)
        hidden_BCT = functional.gelu(network.conv2(hidden_BCT))
        hidden_BSD = functional.gelu(network.conv3(hidden_BCT)).transpose(1, 2)
        hidden_BSD = self._masked(hidden_BSD, self.output_lengths(lengths_B))
        return functional.dropout(hidden_BSD, self.dropout, self.training)

    def _layers(self, frames: int, reach: int | None) -> list[Callable[[Tensor, Tensor], Tensor]]:
        places_S = torch.arange(frames, device=self.network.conv1.weight.device)
        turned = rotation(self.network.rotary_emb, places_S, self.network.conv1.weight.dtype)
        return [partial(_through, layer, turned, reach) for layer in self.network.layers]

    def _leave(self, hidden_BSD: Tensor) -> Tensor:
        return self.network.layer_norm(hidden_BSD)


def rotation(rotary: Any, places_S: Tensor, dtype: torch.dtype) -> Rotation:
    """As transformers' MoonshineRotaryEmbedding, whose own buffer an engine may cast to bf16."""
    inverse_R, _ = rotary.compute_default_rope_parameters(rotary.config, places_S.device)
    angles_1SR = (places_S.float()[:, None] * inverse_R)[None].repeat(1, 1, 2)
    return angles_1SR.cos().to(dtype), angles_1SR.sin().to(dtype)


def _through(
    layer: nn.Module, turned: Rotation, reach: int | None, hidden_BSD: Tensor, mask_BS: Tensor
) -> Tensor:
    return layer(hidden_BSD, attention_mask=seen(mask_BS, reach), position_embeddings=turned)


def _normalised(norm: nn.GroupNorm, hidden_BCT: Tensor, frames_B: Tensor) -> Tensor:
    """Of one group, over all channels and the utterance's own frames."""
    assert norm.num_groups == 1
    mask_B1T = frame_mask(frames_B, hidden_BCT.shape[2])[:, None]
    values_BCT = hidden_BCT.float().masked_fill(~mask_B1T, 0.0)
    count_B11 = (frames_B * hidden_BCT.shape[1])[:, None, None].float()
    mean_B11 = values_BCT.sum((1, 2), keepdim=True) / count_B11
    centred_BCT = (values_BCT - mean_B11).masked_fill(~mask_B1T, 0.0)
    variance_B11 = centred_BCT.square().sum((1, 2), keepdim=True) / count_B11
    scaled_BCT = centred_BCT * (variance_B11 + norm.eps).rsqrt() * norm.weight[:, None]
    return (scaled_BCT + norm.bias[:, None]).to(hidden_BCT.dtype)
