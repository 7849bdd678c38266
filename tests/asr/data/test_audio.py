"""Resampling in blocks is resampling."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.functional import resample

from asr.data.audio import resampled


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]),
    st.integers(1, 60_000),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=4),
)
def test_resampling_in_blocks_is_resampling(rate: int, samples: int, cuts: list[int]) -> None:
    signal = torch.from_numpy(np.random.default_rng(samples).standard_normal(samples)).float()
    blocks, start, index = [], 0, 0
    while start < samples:
        size = cuts[index % len(cuts)] + 200
        blocks.append(signal[start : start + size])
        start, index = start + size, index + 1
    joined = torch.cat(list(resampled(blocks, rate, 16_000)))
    whole = resample(signal, rate, 16_000)
    assert joined.shape == whole.shape
    assert (joined - whole).abs().max() < 1e-4
