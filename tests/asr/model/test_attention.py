"""Attention within a reach, and the key bias."""

from __future__ import annotations

import pytest
import torch
from model_helpers import VARIANTS, padded, small_model, waveforms

from asr.config.features import FeatureConfig
from asr.config.model import TransformerConfig
from asr.model import attention
from asr.model.acoustic_model import AcousticModel
from asr.model.encoders.transformer import TransformerEncoder
from asr.model.features import LogMel


@pytest.mark.parametrize("options", VARIANTS)
def test_a_limited_reach_hears_the_neighbourhood_alone(options: dict[str, object]) -> None:
    model, log_mel = small_model(**options).eval(), LogMel(FeatureConfig())
    reach, kernel = 4, int(str(options["convolution_kernel"]))
    hears = 3 * (reach + kernel // 2) + 2  # frames on each side, through three blocks
    with torch.no_grad():
        features, lengths = log_mel(*padded(waveforms()))
        before, frames = model(features, lengths, reach=reach)
        changed = features.clone()
        changed[:, 0] += 1.0
        after, _ = model(changed, lengths, reach=reach)
        unlimited, _ = model(features, lengths)
        wide, _ = model(features, lengths, reach=int(frames.max()) - 1)
        [alone], _ = model(*log_mel(*padded(waveforms()[2:3])), reach=reach)
    assert torch.isfinite(before).all()
    for index, count in enumerate(frames.tolist()):
        assert torch.equal(before[index, hears:count], after[index, hears:count])
        assert not torch.equal(before[index, :hears], after[index, :hears])
        assert (wide[index, :count] - unlimited[index, :count]).abs().max() < 1e-5
    assert (before[3] - unlimited[3]).abs().max() > 1e-4
    assert (before[2, : frames[2]] - alone[: frames[2]]).abs().max() < 1e-5


@pytest.mark.parametrize("positions", ["sinusoidal", "none", "rotary"])
def test_the_key_bias_learns_only_where_it_is_felt(positions: str) -> None:
    config = TransformerConfig(
        width=32, heads=2, layers=1, feed_forward_width=64, positions=positions, dropout=0.0
    )
    torch.manual_seed(0)
    model = AcousticModel(TransformerEncoder(80, config), 12)
    bias = model.encoder.blocks[0].attention.query_key_value.bias
    logits, _ = model(torch.randn(2, 60, 80), torch.tensor([60, 40]))
    logits.square().sum().backward()
    query, key, value = bias.grad.chunk(3)
    assert query.any()
    assert value.any()
    assert bool(key.any()) == (positions == "rotary")


def test_a_fixed_key_bias_is_not_felt() -> None:
    config = TransformerConfig(width=32, heads=2, layers=2, feed_forward_width=64, dropout=0.0)
    model = AcousticModel(TransformerEncoder(80, config), 12).eval()
    features, lengths = torch.randn(2, 60, 80), torch.tensor([60, 40])
    before, _ = model(features, lengths)
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.attention.query_key_value.bias[32:64] += 1.0
    after, _ = model(features, lengths)
    assert (before - after).abs().max() < 1e-5


def test_attention_by_products_in_bf16_is_as_near_to_fp32_as_the_fused_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TransformerConfig(width=64, heads=2, layers=1, feed_forward_width=64, dropout=0.0)
    torch.manual_seed(0)
    own = attention.SelfAttention(config)
    hidden = torch.randn(3, 50, 64)
    mask = torch.arange(50) < torch.tensor([50, 30, 1])[:, None]

    def found(autocast: bool) -> tuple[torch.Tensor, torch.Tensor]:
        given = hidden.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = own(given, mask, None)
        output.float()[mask].square().sum().backward()
        assert given.grad is not None
        return output.float()[mask], given.grad

    exact, products = found(False), found(True)
    monkeypatch.setattr(attention, "_SHORT_FRAMES", 0)
    fused = found(True)
    for right, here, there in zip(exact, products, fused, strict=True):
        allowed = 2.0 * float((there - right).detach().norm())
        assert 0 < float((here - right).detach().norm()) < allowed
        assert not torch.equal(here, there)
