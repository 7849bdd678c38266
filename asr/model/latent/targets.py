"""What is predicted of speech, as a network in evaluation mode hears it.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width,
P width of a projection.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.model.encoders.outputs import outputs_into
from asr.model.features import frame_mask
from asr.model.latent.network import ByolModel, LatentModel

_EPS = 1e-5
"""torch's of an instance normalisation."""
_DEAD = 1e-4
"""Of a frame's squared norm: what it has beyond the utterance's mean, a hundredth of its length."""


@dataclass(frozen=True)
class Representations:
    """Of a batch of utterances."""

    targets_BSD: Tensor
    """fp32: of the blocks, zero where padded; or projections (B, S + 1, P), that of the mean at last."""
    frames_B: Tensor
    hidden_BSD: Tensor
    """The encoder's own output."""
    dead_BS: Tensor
    """Booleans: frames that say nothing but the mean of their utterance."""


@torch.no_grad()
def representations(
    network: LatentModel, features_BTF: Tensor, lengths_B: Tensor, top_blocks: int
) -> Representations:
    """Targets are the mean of the top blocks' outputs, each normalised over its utterance.

    Each block's output has, over an utterance's own frames, mean 0 and variance 1 in every channel (instance
    normalisation), so that no block and no channel outweighs the others, and a constant is no answer
    (arXiv 2202.03555, section 3.3, and its code for speech).
    """
    blocks: deque[Tensor] = deque(maxlen=top_blocks + 1)
    with outputs_into(blocks):
        _, frames_B = network(features_BTF, lengths_B)  # all of it: else ZeRO 3 misses weights
    hidden_BSD = blocks.pop()
    mask_BS1 = frame_mask(frames_B, hidden_BSD.shape[1])[:, :, None]
    count_B11 = _count(frames_B)
    targets_BSD = mean_BSD = torch.zeros((), device=hidden_BSD.device)
    for block_BSD in blocks:
        block_BSD = block_BSD.float().masked_fill(~mask_BS1, 0.0)
        mean_BSD = mean_BSD + block_BSD / len(blocks)
        targets_BSD = targets_BSD + _normalised(block_BSD, mask_BS1, count_B11) / len(blocks)
    dead_BS = _dead(mean_BSD, frames_B)
    return Representations(targets_BSD, frames_B, hidden_BSD, dead_BS)


@torch.no_grad()
def projections(
    network: ByolModel, features_BTF: Tensor, lengths_B: Tensor, normalises: bool
) -> Representations:
    """Targets are the projector's output (arXiv 2006.07733, section 3.1).

    With `normalises` those of frames are normalised over their utterance, as blocks are above; that of the
    utterance's mean stays as it is.
    """
    noted: deque[Tensor] = deque(maxlen=2)
    with outputs_into(noted):
        _, frames_B = network(features_BTF, lengths_B)  # all of it: else ZeRO 3 misses weights
    hidden_BSD, targets_BSP = noted[0], noted[1].float()
    if normalises:
        mask_BS1 = frame_mask(frames_B, hidden_BSD.shape[1])[:, :, None]
        own_BSP = targets_BSP[:, :-1].masked_fill(~mask_BS1, 0.0)
        own_BSP = _normalised(own_BSP, mask_BS1, _count(frames_B))
        targets_BSP = torch.cat([own_BSP, targets_BSP[:, -1:]], 1)
    dead_BS = _dead(hidden_BSD.float(), frames_B)
    return Representations(targets_BSP, frames_B, hidden_BSD, dead_BS)


def _dead(values_BSD: Tensor, frames_B: Tensor) -> Tensor:
    mask_BS1 = frame_mask(frames_B, values_BSD.shape[1])[:, :, None]
    values_BSD = values_BSD.masked_fill(~mask_BS1, 0.0)
    own_BSD = _centred(values_BSD, mask_BS1, _count(frames_B))
    dead_BS = own_BSD.square().sum(-1) <= _DEAD * values_BSD.square().sum(-1)
    return dead_BS & mask_BS1[:, :, 0]


def _count(frames_B: Tensor) -> Tensor:
    return frames_B.clamp(min=1)[:, None, None].float()


def _centred(values_BSD: Tensor, mask_BS1: Tensor, count_B11: Tensor) -> Tensor:
    mean_B1D = values_BSD.sum(1, keepdim=True) / count_B11
    return (values_BSD - mean_B1D).masked_fill(~mask_BS1, 0.0)


def _normalised(values_BSD: Tensor, mask_BS1: Tensor, count_B11: Tensor) -> Tensor:
    centred_BSD = _centred(values_BSD, mask_BS1, count_B11)
    variance_B1D = centred_BSD.square().sum(1, keepdim=True) / count_B11
    return centred_BSD * (variance_B1D + _EPS).rsqrt()
