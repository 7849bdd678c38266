"""Features are normalised, whole or in blocks."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_helpers import padded, waveforms

from asr.config.features import FeatureConfig
from asr.model.features import LogMel


def test_features_are_normalised_and_depend_on_the_utterance_alone() -> None:
    log_mel = LogMel(FeatureConfig())
    features, lengths = log_mel(*padded(waveforms()))
    for row, frames in zip(features, lengths, strict=True):
        assert row[:frames].mean(0).abs().max() < 1e-4
        assert (row[:frames].std(0, unbiased=False) - 1).abs().max() < 1e-2
        assert (row[frames:] == 0).all()
    short, [frames] = log_mel(torch.zeros(1, 100), torch.tensor([100]))
    assert frames == 0
    assert torch.isfinite(short).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40_000), st.lists(st.integers(1, 9_000), min_size=1, max_size=4))
def test_a_survey_in_blocks_gives_the_statistics_of_the_whole(
    samples: int, sizes: list[int]
) -> None:
    log_mel = LogMel(FeatureConfig())
    signal = torch.from_numpy(np.random.default_rng(samples).standard_normal(samples)).float()
    blocks, start = [], 0
    for size in itertools.cycle(sizes):
        blocks.append(signal[start : start + size + 50])
        start += size + 50
        if start >= samples:
            break
    recording = log_mel.survey(blocks)
    count = torch.tensor([samples])
    expected, lengths = log_mel(signal[None], count)
    normalised, _ = log_mel(signal[None], count, recording)
    assert recording.samples == samples
    assert torch.allclose(normalised, expected, atol=1e-3) or lengths.item() < 2
