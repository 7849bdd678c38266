"""Masked prediction: spans that belong to the utterance, torch's losses, and what tells a collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from asr.config.objective import LatentConfig
from asr.training.objectives.prediction import predicted, variances
from asr.training.objectives.spans import span_mask, span_masks
from asr.training.validation.representations import effective_rank

POLICY = LatentConfig()


def test_half_of_the_frames_are_masked_in_spans_that_belong_to_the_utterance() -> None:
    masks = [span_mask(500, POLICY, 20.0, (1, 2, 0, index)) for index in range(100)]
    # data2vec: 0.65 of the frames in spans of 10, which overlap: about 49 % are masked.
    assert np.mean(masks) == pytest.approx(0.49, abs=0.01)
    for mask in masks[:10]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
        assert min(edges[1::2] - edges[::2]) >= 10
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], span_mask(500, POLICY, 20.0, (1, 2, 1, 0)))
    together = span_masks([500, 300], POLICY, 20.0, [(1, 2, 0, 0), (1, 2, 0, 1)])
    assert np.array_equal(together[0].numpy(), masks[0])
    assert not together[1, 300:].any()


@pytest.mark.parametrize("frames", [0, 1, 2, 5, 21])
def test_something_is_left_to_tell_the_masked_frames_by(frames: int) -> None:
    for index in range(50):
        masked = span_mask(frames, LatentConfig(mask_share=0.65), 20.0, (1, 1, 0, index)).sum()
        assert masked >= min(1, frames)
        assert masked < frames or frames < 2 or frames > 20


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_loss_is_torch_s_over_the_masked_frames(beta: float) -> None:
    generator = torch.Generator().manual_seed(0)
    predictions = torch.randn(2, 6, 4, generator=generator, requires_grad=True)
    targets = torch.randn(3, 7, 4, generator=generator)
    masks = torch.zeros(2, 5, dtype=torch.bool)
    masks[0, 1:3] = masks[1, 4] = True
    found = predicted(predictions, targets, masks, [2, 0], beta)
    pairs = [(0, 2, 1), (0, 2, 2), (1, 0, 4)]
    for loss, (row, of, frame) in zip(found.losses_M, pairs, strict=True):
        one = predictions[row, frame], targets[of, frame]
        expected = functional.smooth_l1_loss(*one, beta=beta) if beta else functional.mse_loss(*one)
        assert torch.allclose(loss, expected)
    assert torch.allclose(
        found.losses_B, torch.stack([found.losses_M[:2].sum(), found.losses_M[2]])
    )
    told = torch.stack([targets[of, frame] for _, of, frame in pairs])
    said = torch.stack([predictions[row, frame] for row, _, frame in pairs])
    expected_variances = [float(one.detach().var(0, unbiased=False).mean()) for one in (told, said)]
    assert variances(found.sums_LKD, 3) == pytest.approx(expected_variances, rel=1e-5)


def test_the_effective_rank_is_the_number_of_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(4000, 12, generator=generator, dtype=torch.float64)
    assert effective_rank(whole.T @ whole) == pytest.approx(12, rel=0.01)
    few = whole[:, :3] @ torch.randn(3, 12, generator=generator, dtype=torch.float64)
    assert 1.0 < effective_rank(few.T @ few) <= 3.01
    constant = torch.ones(4000, 12, dtype=torch.float64)
    assert effective_rank(constant.T @ constant) == pytest.approx(1.0, abs=1e-3)
    singular = torch.linalg.svdvals(whole)
    shares = singular / singular.sum() + 1e-7
    expected = math.exp(-float((shares * shares.log()).sum()))
    assert effective_rank(whole.T @ whole) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_effective_rank_of_what_is_not_finite_is_nan(value: float) -> None:
    squared = torch.eye(4, dtype=torch.float64)
    squared[1, 2] = value
    assert math.isnan(effective_rank(squared))
