"""Augmentation of the student's features.

Shape suffixes: B utterances, T feature frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from asr.config.augmentation import SpecAugmentConfig
from asr.utils.devices import sent
from asr.utils.seeds import SeedTag, generator


def linear_fade(
    features_BTF: Tensor, lengths_B: Tensor, most: float, seeds: Sequence[tuple[int, ...]]
) -> Tensor:
    """Each utterance gets louder or softer: a line in time is added to its log-mel features, not to padding.

    BYOL-A's random linear fader (Niizumi et al. 2022, arXiv 2204.07402): both ends of the line are drawn from
    minus to plus `most`. `lengths_B` on the host; `seeds` as in `spec_augment`.
    """
    if not most:
        return features_BTF
    added_BT = torch.zeros(features_BTF.shape[:2])
    for own_T, frames, (seed, *place) in zip(added_BT, lengths_B.tolist(), seeds, strict=True):
        first, last = generator(seed, SeedTag.FADE, *place).uniform(-most, most, 2)
        own_T[:frames] = torch.linspace(first, last, frames)
    return features_BTF + sent(added_BT, features_BTF.device)[:, :, None]


def spec_augment(
    features_BTF: Tensor,
    lengths_B: Tensor,
    config: SpecAugmentConfig,
    seeds: Sequence[tuple[int, ...]],
    filling_F: Tensor | None = None,
) -> Tensor:
    """SpecAugment (Park et al. 2019) with slimIPL's policy (arXiv 2010.11524): masks set to 0.

    Each utterance draws from a generator seeded by its own entry of `seeds` (length B), so the masks
    are the same however the utterances are batched or spread over ranks. With `filling_F` that is what a
    masked frame becomes.
    """
    utterances, longest, mel_bins = features_BTF.shape
    frames_BT = torch.zeros(utterances, longest, dtype=torch.bool)
    bins_BF = torch.zeros(utterances, mel_bins, dtype=torch.bool)
    for index, (frames, seed) in enumerate(zip(lengths_B.tolist(), seeds, strict=True)):
        random = np.random.default_rng(seed)
        for _ in range(config.frequency_masks):
            width = int(random.integers(0, config.frequency_mask_bins + 1))
            start = int(random.integers(0, max(1, mel_bins - width + 1)))
            bins_BF[index, start : start + width] = True
        widest = min(config.time_mask_frames, int(config.time_mask_max_share * frames))
        for _ in range(config.time_masks):
            width = int(random.integers(0, widest + 1))
            start = int(random.integers(0, max(1, frames - width + 1)))
            frames_BT[index, start : start + width] = True
    device = features_BTF.device
    masked_BTF = features_BTF.masked_fill(sent(bins_BF, device)[:, None], 0.0)
    frames_BT1 = sent(frames_BT, device)[:, :, None]
    if filling_F is None:
        return masked_BTF.masked_fill(frames_BT1, 0.0)
    return torch.where(frames_BT1, filling_F.to(masked_BTF.dtype), masked_BTF)
