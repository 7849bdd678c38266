"""SpecAugment is a function of the utterance's seed."""

from __future__ import annotations

import torch

from asr.config.augmentation import SpecAugmentConfig
from asr.training.augmentation import spec_augment


def test_spec_augment_is_a_function_of_the_utterance_s_seed() -> None:
    features = torch.ones(3, 200, 80)
    lengths = torch.tensor([200, 150, 200])
    seeds = [(1, 1), (1, 2), (1, 3)]
    policy = SpecAugmentConfig()
    masked = spec_augment(features, lengths, policy, seeds)
    assert (features == 1).all(), "the input was changed"
    assert 0.02 < (masked == 0).float().mean() < 0.95
    again = spec_augment(features[[2, 0]], lengths[[2, 0]], policy, [seeds[2], seeds[0]])
    assert torch.equal(again, masked[[2, 0]])
    off = SpecAugmentConfig(frequency_masks=0, time_masks=0)
    assert torch.equal(spec_augment(features, lengths, off, seeds), features)
    filling = torch.full((80,), 7.0)
    filled = spec_augment(features, lengths, policy, seeds, filling)
    whole = (masked == 0).all(2)
    assert (filled[whole] == 7).all()
    assert torch.equal(filled[~whole], masked[~whole])
