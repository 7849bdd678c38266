"""Logits and gradients do not depend on batch mates."""

from __future__ import annotations

import pytest
import torch
from model_helpers import VARIANTS, padded, small_model, waveforms

from asr.config.features import FeatureConfig
from asr.model.features import LogMel


@pytest.mark.parametrize("options", VARIANTS)
def test_logits_do_not_depend_on_batch_mates(options: dict[str, object]) -> None:
    model, log_mel = small_model(**options).eval(), LogMel(FeatureConfig())
    with torch.no_grad():
        together, lengths = model(*log_mel(*padded(waveforms())))
        for index, piece in enumerate(waveforms()):
            alone, [length] = model(*log_mel(*padded([piece])))
            assert length == lengths[index]
            difference = (together[index, :length] - alone[0, :length]).abs().max()
            assert difference < 1e-5


@pytest.mark.parametrize("options", VARIANTS)
def test_gradients_do_not_depend_on_batch_mates(options: dict[str, object]) -> None:
    model, log_mel = small_model(**options).eval(), LogMel(FeatureConfig())

    def gradient(pieces: list[torch.Tensor]) -> torch.Tensor:
        model.zero_grad()
        logits, lengths = model(*log_mel(*padded(pieces)))
        mask = torch.arange(logits.shape[1])[None] < lengths[:, None]
        (logits.square().sum(-1) * mask).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(waveforms())
    parts = sum(gradient([piece]) for piece in waveforms())
    assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))
