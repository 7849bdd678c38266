"""Augmentation of the student's features.

Shape suffixes: B utterances, T feature frames, F mel bins.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from asr.config.schema import SpecAugmentConfig


def spec_augment(
    features_BTF: Tensor, lengths_B: Tensor, config: SpecAugmentConfig, seeds: list[tuple[int, ...]]
) -> Tensor:
    """SpecAugment (Park et al. 2019) with slimIPL's policy (arXiv 2010.11524): masks set to 0.

    Each utterance draws from a generator seeded by its own entry of `seeds` (length B), so the masks
    are the same however the utterances are batched or spread over ranks.
    """
    masked_BTF = features_BTF.clone()
    mel_bins = features_BTF.shape[2]
    for index, (frames, seed) in enumerate(zip(lengths_B.tolist(), seeds, strict=True)):
        random = np.random.default_rng(seed)
        for _ in range(config.frequency_masks):
            width = int(random.integers(0, config.frequency_mask_bins + 1))
            start = int(random.integers(0, max(1, mel_bins - width + 1)))
            masked_BTF[index, :, start : start + width] = 0.0
        widest = min(config.time_mask_frames, int(config.time_mask_max_share * frames))
        for _ in range(config.time_masks):
            width = int(random.integers(0, widest + 1))
            start = int(random.integers(0, max(1, frames - width + 1)))
            masked_BTF[index, start : start + width, :] = 0.0
    return masked_BTF
