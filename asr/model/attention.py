"""Self-attention over the valid frames, and positions.

Shape suffixes: B utterances, S encoder frames, D model width, H heads, K width of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.config.model import TransformerConfig

_SHORT_FRAMES = 512
"""Beyond these the weights of attention by products fill caches and memory."""


def sinusoidal_positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Absolute positions of Vaswani et al. 2017, section 3.5, shape (S, D), fp32."""
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angles = torch.arange(frames, device=device)[:, None] * rate[None, :]
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def rotary_tables(frames: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine (S, K) of the rotary position embedding (Su et al. 2021, arXiv 2104.09864)."""
    rate = torch.exp(
        torch.arange(0, head_width, 2, device=device) * (-math.log(10_000.0) / head_width)
    )
    angles = torch.arange(frames, device=device)[:, None] * rate[None, :]
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(states_BHSK: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Apply the rotation of `rotary_tables` to queries or keys."""
    cosine, sine = (table.to(states_BHSK.dtype) for table in tables)
    first, second = states_BHSK.chunk(2, dim=-1)
    return states_BHSK * cosine + torch.cat((-second, first), dim=-1) * sine


class _WithFixedKeyBias(nn.Linear):
    """Queries, keys and values in one projection, whose key bias does not learn.

    Softmax does not feel it (but for a rotation in between), so its gradient is rounding noise, of which
    Adam would make steps of full size that differ with the order of summation.
    """

    def forward(self, input: Tensor) -> Tensor:
        query, key, value = self.bias.chunk(3)
        return functional.linear(input, self.weight, torch.cat([query, key.detach(), value]))


class SelfAttention(nn.Module):
    """Multi-head self-attention over the valid frames, all of them or those within reach."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        projection = nn.Linear if config.positions == "rotary" else _WithFixedKeyBias
        self.query_key_value = projection(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(
        self,
        hidden_BSD: Tensor,
        mask_BS: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        reach: int | None = None,
    ) -> Tensor:
        batch, frames, width = hidden_BSD.shape
        packed = self.query_key_value(hidden_BSD).view(batch, frames, 3, self.heads, -1)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        if reach is not None and reach < frames:
            attended_BHSK = _attention_within(reach, query, key, value, mask_BS)
        elif _are_products_faster(query) and not (self.training and self.dropout):
            attended_BHSK = _attention_by_products(query, key, value, mask_BS)
        else:
            attended_BHSK = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask_BS[:, None, None, :],
                dropout_p=self.dropout if self.training else 0.0,
            )
        return self.output(attended_BHSK.transpose(1, 2).reshape(batch, frames, width))


def _are_products_faster(query_BHSK: Tensor) -> bool:
    """Than torch's fused kernel: of short utterances in bf16 on a CPU, where that is slow."""
    is_short = query_BHSK.shape[2] <= _SHORT_FRAMES
    return query_BHSK.device.type == "cpu" and query_BHSK.dtype == torch.bfloat16 and is_short


def _attention_by_products(
    query_BHSK: Tensor, key_BHSK: Tensor, value_BHSK: Tensor, mask_BS: Tensor
) -> Tensor:
    """Attention to the valid frames, with its weights (B, H, S, S) in memory; sums are in fp32 as elsewhere."""
    with torch.autocast(query_BHSK.device.type, enabled=False):  # softmax would be in fp32 outside
        scores_BHSS = query_BHSK * query_BHSK.shape[3] ** -0.5 @ key_BHSK.transpose(-2, -1)
        beyond_BS = torch.zeros_like(mask_BS, dtype=scores_BHSS.dtype)
        beyond_BS = beyond_BS.masked_fill_(~mask_BS, -torch.inf)
        return scores_BHSS.add_(beyond_BS[:, None, None, :]).softmax(dim=-1) @ value_BHSK


def _attention_within(
    reach: int, query_BHSK: Tensor, key_BHSK: Tensor, value_BHSK: Tensor, mask_BS: Tensor
) -> Tensor:
    """Attention to the valid frames at most `reach` away, in memory that grows with S and not its square.

    Queries are cut into blocks of `reach` frames; a block sees itself and its two neighbours. Shape suffixes:
    N blocks, R frames of a block, C = 3 R frames that it sees. For inference: without dropout.
    """
    frames, blocks = query_BHSK.shape[2], math.ceil(query_BHSK.shape[2] / reach)
    excess = blocks * reach - frames
    query_BHNRK = functional.pad(query_BHSK, (0, 0, 0, excess)).reshape(
        *query_BHSK.shape[:2], blocks, reach, query_BHSK.shape[3]
    )
    key_BHNCK, value_BHNCK = (
        functional.pad(states, (0, 0, reach, excess + reach))
        .unfold(2, 3 * reach, reach)
        .transpose(-2, -1)
        for states in (key_BHSK, value_BHSK)
    )
    valid_BNC = functional.pad(mask_BS, (reach, excess + reach)).unfold(1, 3 * reach, reach)
    places_C = torch.arange(3 * reach, device=mask_BS.device)
    distance_RC = places_C - places_C[reach : 2 * reach, None]
    # A frame beyond the end sees itself: with nothing to see it would be NaN, which spreads.
    seen_BNRC = (distance_RC.abs() <= reach) & valid_BNC[:, :, None] | (distance_RC == 0)
    attended_BHNRK = functional.scaled_dot_product_attention(
        query_BHNRK, key_BHNCK, value_BHNCK, attn_mask=seen_BNRC[:, None]
    )
    return attended_BHNRK.flatten(2, 3)[:, :, :frames]
