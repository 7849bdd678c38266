"""Our own encoder: a convolutional front end and transformer blocks.

Shape suffixes: B utterances, T feature frames, S encoder frames, F mel bins, D model width, L layers.

Masked everywhere: an utterance's hidden states do not depend on the utterances it is batched with. There is
no batch normalisation, since batch statistics leak between utterances and need a policy in the teacher.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.config.model import TransformerConfig
from asr.model.attention import SelfAttention, rotary_tables, sinusoidal_positions
from asr.model.dropout import Dropout
from asr.model.encoders.encoder import Encoder
from asr.model.features import frame_mask
from asr.model.masks import masked


class FrontEnd(nn.Module):
    """One strided 1-D convolution and a GLU, as in slimIPL (arXiv 2010.11524): (B, T, F) -> (B, S, D)."""

    def __init__(self, mel_bins: int, config: TransformerConfig) -> None:
        super().__init__()
        self.stride = config.stride
        self.convolution = nn.Conv1d(
            mel_bins,
            2 * config.width,
            kernel_size=config.front_end_kernel,
            stride=config.stride,
            padding=config.front_end_kernel // 2,
        )
        self.dropout = Dropout(config.dropout)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Encoder frames (B,) for `lengths_B` feature frames: ceil(T / stride)."""
        return (lengths_B + self.stride - 1) // self.stride

    def forward(self, features_BTF: Tensor) -> Tensor:
        hidden_BDS = functional.glu(self.convolution(features_BTF.transpose(1, 2)), dim=1)
        return self.dropout(hidden_BDS.transpose(1, 2))


class ConvolutionModule(nn.Module):
    """The Conformer's convolution module (Gulati et al. 2020), with LayerNorm for BatchNorm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.width, 2 * config.width)
        self.depthwise = nn.Conv1d(
            config.width,
            config.width,
            kernel_size=config.convolution_kernel,
            padding=config.convolution_kernel // 2,
            groups=config.width,
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        hidden_BSD = functional.glu(self.expand(hidden_BSD), dim=-1)
        # The depthwise convolution must see the same zeros beyond an utterance's end as it sees
        # beyond the end of the batch.
        hidden_BSD = hidden_BSD * mask_BS[:, :, None].to(hidden_BSD.dtype)
        hidden_BSD = self._depthwise(hidden_BSD)
        return self.output(functional.silu(self.norm(hidden_BSD)))

    def _depthwise(self, hidden_BSD: Tensor) -> Tensor:
        """`self.depthwise` as a channels-last 2-D convolution, which spares CPUs two transposed copies."""
        kernel = self.depthwise.weight.unsqueeze(2).to(memory_format=torch.channels_last)
        filtered_BD1S = functional.conv2d(
            hidden_BSD.transpose(1, 2).unsqueeze(2),
            kernel,
            self.depthwise.bias,
            padding=(0, self.depthwise.padding[0]),  # type: ignore[arg-type]
            groups=self.depthwise.groups,
        )
        return filtered_BD1S.squeeze(2).transpose(1, 2)


class FeedForward(nn.Module):
    """Position-wise feed-forward network."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.width, config.feed_forward_width)
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.feed_forward_width, config.width)
        self.activation = functional.silu if config.activation == "silu" else functional.relu

    def forward(self, hidden_BSD: Tensor) -> Tensor:
        return self.output(self.dropout(self.activation(self.expand(hidden_BSD))))


class Block(nn.Module):
    """Attention, an optional convolution module and a feed-forward network, pre- or post-norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.attention = SelfAttention(config)
        self.convolution = ConvolutionModule(config) if config.convolution_kernel else None
        self.feed_forward = FeedForward(config)
        self.norms = nn.ModuleList(
            nn.LayerNorm(config.width) for _ in range(3 if config.convolution_kernel else 2)
        )
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        hidden_BSD: Tensor,
        mask_BS: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        reach: int | None = None,
    ) -> Tensor:
        norms = iter(self.norms)

        def residual(hidden_BSD: Tensor, branch: nn.Module, *arguments: object) -> Tensor:
            norm = next(norms)
            if self.pre_norm:
                return hidden_BSD + self.dropout(branch(norm(hidden_BSD), *arguments))
            return norm(hidden_BSD + self.dropout(branch(hidden_BSD, *arguments)))

        hidden_BSD = residual(hidden_BSD, self.attention, mask_BS, rotary, reach)
        if self.convolution is not None:
            hidden_BSD = residual(hidden_BSD, self.convolution, mask_BS)
        return residual(hidden_BSD, self.feed_forward)


class TransformerEncoder(Encoder):
    """slimIPL's front end and blocks (arXiv 2010.11524), with options; `mel_bins` is F."""

    def __init__(self, mel_bins: int, config: TransformerConfig) -> None:
        super().__init__()
        self.width, self.stride, self.layers = config.width, config.stride, config.layers
        self.head_width = config.width // config.heads
        self.positions = config.positions
        self.layer_drop = config.layer_drop
        self.front_end = FrontEnd(mel_bins, config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width) if config.norm == "pre" else nn.Identity()

    def set_dropout(self, dropout: float, layer_drop: float) -> None:
        """The front end's stays, as in slimIPL."""
        self.layer_drop = layer_drop
        for block in self.blocks:
            for module in block.modules():
                if isinstance(module, Dropout):
                    module.p = dropout

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return self.front_end.output_lengths(lengths_B)

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        output_lengths_B = self.output_lengths(lengths_B)
        hidden_BSD = masked(self.front_end(features_BTF), output_lengths_B, filling_D=None)
        frames = hidden_BSD.shape[1]
        # An utterance without frames still needs one key to attend to, else softmax gives NaN.
        mask_BS = frame_mask(output_lengths_B.clamp(min=1), frames)
        rotary = None
        if self.positions == "sinusoidal":
            positions_SD = sinusoidal_positions(frames, self.width, hidden_BSD.device)
            hidden_BSD = hidden_BSD + positions_SD.to(hidden_BSD.dtype)
        elif self.positions == "rotary":
            rotary = rotary_tables(frames, self.head_width, hidden_BSD.device)
        for index, block in enumerate(self.blocks):
            layer = partial(block, rotary=rotary, reach=reach)
            kept_B = None if kept_BL is None else kept_BL[:, index]
            hidden_BSD = self._through(layer, hidden_BSD, mask_BS, kept_B)
        return self.final_norm(hidden_BSD), output_lengths_B
