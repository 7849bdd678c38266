"""Greedy decoding against a plain loop."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.greedy import greedy


def slow_greedy(logits: np.ndarray, frames: int) -> list[int]:
    return [token for token, _ in groupby(logits[:frames].argmax(-1)) if token]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_greedy_merges_then_drops_blanks(seed: int, frames: int) -> None:
    logits = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(seed))
    first, second = greedy(logits, torch.tensor([frames, 20]))
    assert first.tokens == slow_greedy(logits[0].numpy(), frames)
    assert second.tokens == slow_greedy(logits[1].numpy(), 20)
    best = logits[1].softmax(-1).max(-1).values
    assert second.confidence == pytest.approx(float(best.mean()), abs=1e-6)
