"""wav2vec 2.0 and its kin, which read the waveform: HuBERT, data2vec-audio, XLS-R, MMS, and WavLM.

Shape suffixes: B utterances, N samples, C channels, T frames of a convolution, S encoder frames, D width,
H heads, K width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import UserError
from asr.model.encoders.pretrained.encoder import PretrainedEncoder, seen, whole_weight
from asr.model.features import FrontEnd, Recording, frame_mask
from asr.utils.devices import sent

_VARIANCE_FLOOR = 1e-7  # the feature extractor's


class Waveform(FrontEnd):
    """The waveform itself, of zero mean and unit variance over the utterance where the model wants that."""

    width = None
    hop_samples = 1
    takes_masks = False
    frame_multiple = 5120
    idle_frames = 5120

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.sample_rate_hz = extractor.sampling_rate
        self.normalises = extractor.do_normalize

    def frames(self, samples_B: Tensor) -> Tensor:
        return samples_B

    @torch.no_grad()
    def forward(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        samples_B = sent(samples_B, waveforms_BN.device)
        mask_BN = frame_mask(samples_B, waveforms_BN.shape[1])
        waveforms_BN = waveforms_BN.float().masked_fill(~mask_BN, 0.0)
        if self.normalises and recording is not None:
            waveforms_BN = (waveforms_BN - recording.mean) / recording.std
        elif self.normalises:
            count_B1 = samples_B.clamp(min=1)[:, None].float()
            centred_BN = waveforms_BN - waveforms_BN.sum(1, keepdim=True) / count_B1
            square_B1 = centred_BN.masked_fill(~mask_BN, 0.0).square().sum(1, keepdim=True)
            waveforms_BN = centred_BN / (square_B1 / count_B1 + _VARIANCE_FLOOR).sqrt()
        return waveforms_BN.masked_fill(~mask_BN, 0.0), samples_B

    def survey(self, blocks: Iterable[Tensor]) -> Recording:
        samples, sums_2 = 0, torch.zeros(2, dtype=torch.float64)
        for block_N in blocks:
            samples += len(block_N)
            sums_2 += torch.stack([block_N.double().sum(), block_N.double().square().sum()])
        mean, square = sums_2 / max(1, samples)
        variance = (square - mean.square()).clamp(min=0) + _VARIANCE_FLOOR
        return Recording(samples, mean.float(), variance.sqrt().float())


class Wav2Vec2Encoder(PretrainedEncoder):
    """Convolutions over the waveform, a convolution for positions, transformer layers."""

    def __init__(self, network: Any, config: Any, extractor: Any) -> None:
        if getattr(config, "add_adapter", False):
            raise UserError(
                "model.encoder: its config.json has add_adapter, whose convolutions leak padding",
                "take the model without the adapter",
            )
        for module in network.encoder.pos_conv_embed.modules():
            whole_weight(module)
        super().__init__(network, config, extractor, config.hidden_size)
        if hasattr(network, "masked_spec_embed"):
            self._constants.hold(["masked_spec_embed"])
        self.stride = math.prod(config.conv_stride)
        self.layers, self.layer_drop = config.num_hidden_layers, config.layerdrop
        self.is_stable = getattr(config, "do_stable_layer_norm", False)
        for layer in network.feature_extractor.conv_layers:
            if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
                layer.layer_norm = MaskedGroupNorm(layer.layer_norm)
                self.notes = ("group norm over time: by the statistics of each utterance alone",)

    def front_end(self) -> Waveform:
        return Waveform(self.extractor)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            lengths_B = (lengths_B - kernel) // stride + 1
        return lengths_B.clamp(min=0)

    def depth(self, name: str) -> int:
        parts = name.split(".")
        if "encoder" not in parts or "pos_conv_embed" in parts:
            return 0
        if "layers" in parts:
            return 1 + int(parts[parts.index("layers") + 1])
        return self.layers + 1 if self.is_stable else 0

    def _enter(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        hidden_BSD = self.network.feature_projection(self._convolved(features_BTF, lengths_B))
        hidden_BSD = hidden_BSD[0] if isinstance(hidden_BSD, tuple) else hidden_BSD
        encoder, frames_B = self.network.encoder, self.output_lengths(lengths_B)
        hidden_BSD = self._masked(hidden_BSD, frames_B)
        mask_BS1 = frame_mask(frames_B.clamp(min=1), hidden_BSD.shape[1])[:, :, None]
        hidden_BSD = hidden_BSD.masked_fill(~mask_BS1, 0.0)
        hidden_BSD = hidden_BSD + self._positions(hidden_BSD, mask_BS1)
        if not self.is_stable:
            hidden_BSD = encoder.layer_norm(hidden_BSD)
        return encoder.dropout(hidden_BSD)

    def _convolved(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, S, C); no convolution pads, so that no frame of an utterance sees beyond its end."""
        field = 1
        config = self.config
        for kernel, stride in reversed(
            list(zip(config.conv_kernel, config.conv_stride, strict=True))
        ):
            field = (field - 1) * stride + kernel
        shortfall = max(0, field - waveforms_BN.shape[1])
        hidden_BCT = functional.pad(waveforms_BN, (0, shortfall))[:, None]
        for layer in self.network.feature_extractor.conv_layers:
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, MaskedGroupNorm):  # always the first
                (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
                frames_B = ((lengths_B - kernel) // stride + 1).clamp(min=1)
                hidden_BCT = layer.activation(norm(layer.conv(hidden_BCT), frames_B))
            else:
                hidden_BCT = layer(hidden_BCT)
        return hidden_BCT.transpose(1, 2)

    def _positions(self, hidden_BSD: Tensor, mask_BS1: Tensor) -> Tensor:
        """Of a convolution, or of several, each of which must find zeros beyond an utterance's end."""
        embedding = self.network.encoder.pos_conv_embed
        hidden_BDS, mask_B1S = hidden_BSD.transpose(1, 2), mask_BS1.transpose(1, 2)
        if hasattr(embedding, "layers"):
            for layer in embedding.layers:
                hidden_BDS = layer(hidden_BDS.masked_fill(~mask_B1S, 0.0))
            return hidden_BDS.transpose(1, 2)
        if getattr(embedding, "batch_norm", None) is not None:
            hidden_BDS = embedding.batch_norm(hidden_BDS).masked_fill(~mask_B1S, 0.0)
        hidden_BDS = embedding.activation(embedding.padding(embedding.conv(hidden_BDS)))
        return hidden_BDS.transpose(1, 2)

    def _layers(self, frames: int, reach: int | None) -> list[Callable[[Tensor, Tensor], Tensor]]:
        return [partial(_through, layer, reach) for layer in self.network.encoder.layers]

    def _leave(self, hidden_BSD: Tensor) -> Tensor:
        return self.network.encoder.layer_norm(hidden_BSD) if self.is_stable else hidden_BSD


def _through(layer: nn.Module, reach: int | None, hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    return layer(hidden_BSD, attention_mask=seen(mask_BS, reach))


class MaskedGroupNorm(nn.Module):
    """A group norm with a channel a group, whose statistics are of an utterance's own frames."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        assert norm.num_groups == norm.num_channels
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, hidden_BCT: Tensor, frames_B: Tensor) -> Tensor:
        mask_B1T = frame_mask(frames_B, hidden_BCT.shape[2])[:, None]
        count_B11, values_BCT = frames_B[:, None, None].float(), hidden_BCT.float()
        mean_BC1 = values_BCT.masked_fill(~mask_B1T, 0.0).sum(2, keepdim=True) / count_B11
        centred_BCT = (values_BCT - mean_BC1).masked_fill(~mask_B1T, 0.0)
        variance_BC1 = centred_BCT.square().sum(2, keepdim=True) / count_B11
        scale_BC1 = self.weight[:, None] * (variance_BC1 + self.eps).rsqrt()
        return (centred_BCT * scale_BC1 + self.bias[:, None]).to(hidden_BCT.dtype)


class WavLMEncoder(Wav2Vec2Encoder):
    """WavLM: the same with gated relative positions in the attention, which all layers take from the first."""

    def __init__(self, network: Any, config: Any, extractor: Any) -> None:
        super().__init__(network, config, extractor)
        for layer in network.encoder.layers:
            layer.attention = GatedAttention(layer.attention)

    def _layers(self, frames: int, reach: int | None) -> list[Callable[[Tensor, Tensor], Tensor]]:
        layers = self.network.encoder.layers
        bias_HSS = layers[0].attention.compute_bias(frames, frames)
        return [partial(_through_gated, layer, bias_HSS, reach) for layer in layers]


def _through_gated(
    layer: nn.Module, bias_HSS: Tensor, reach: int | None, hidden_BSD: Tensor, mask_BS: Tensor
) -> Tensor:
    hidden_BSD, _ = layer(hidden_BSD, attention_mask=seen(mask_BS, reach), position_bias=bias_HSS)
    return hidden_BSD


class GatedAttention(nn.Module):
    """WavLM's attention (Chen et al. 2021, arXiv 2110.13900, section 3.1) by torch's fused kernel.

    transformers' own takes its projections' weights without calling them, which ZeRO 3 does not see, and keeps
    the attention weights of all heads.
    """

    gru_rel_pos_linear: nn.Module
    q_proj: nn.Module
    k_proj: nn.Module
    v_proj: nn.Module
    out_proj: nn.Module

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads, self.dropout = attention.num_heads, attention.dropout
        self.compute_bias = attention.compute_bias
        for name, module in attention.named_children():
            self.add_module(name, module)
        self.gru_rel_pos_const = attention.gru_rel_pos_const

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        position_bias: Tensor,
        **_: object,
    ) -> tuple[Tensor, None, Tensor]:
        """Shapes (B, S, D), boolean (B, 1, 1 or S, S), and (H, S, S), which is handed back."""
        hidden_BSD = hidden_states
        batch, frames, width = hidden_BSD.shape
        hidden_BHSK = hidden_BSD.view(batch, frames, self.heads, -1).transpose(1, 2)
        gates_BHS2 = self.gru_rel_pos_linear(hidden_BHSK).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        first_BHS1, second_BHS1 = gates_BHS2.chunk(2, dim=-1)
        gate_BHS1 = first_BHS1 * (second_BHS1 * self.gru_rel_pos_const - 1.0) + 2.0
        bias_BHSS = (gate_BHS1 * position_bias).masked_fill(~attention_mask, -torch.inf)
        query, key, value = (
            projection(hidden_BSD).view(batch, frames, self.heads, -1).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended_BHSK = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias_BHSS.to(query.dtype),
            dropout_p=self.dropout if self.training else 0.0,
        )
        attended_BSD = attended_BHSK.transpose(1, 2).reshape(batch, frames, width)
        return self.out_proj(attended_BSD), None, position_bias
