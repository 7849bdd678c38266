"""Dropout and LayerDrop belong to the utterance: their noise falls as the batch grows, however it is cut."""

from __future__ import annotations

import pytest
import torch
from model_helpers import small_model

from asr.config.schema import Config
from asr.data.segments import Kind, Segment
from asr.model.dropout import drawn_by
from asr.training.regularisation import dropout_draws, kept_layers

UTTERANCES = 2
FRAMES = 24


def gradient(config: Config, model: torch.nn.Module, kappa: int, number: int) -> torch.Tensor:
    """Of one batch at `kappa`: the same two utterances in so many passes, mean over them."""
    features_BTF = torch.randn(UTTERANCES, FRAMES, 80, generator=torch.Generator().manual_seed(1))
    segments = [
        Segment(Kind.LABELLED, index, number * kappa + repeat, 1.0)
        for repeat in range(kappa)
        for index in range(UTTERANCES)
    ]
    lengths_B = torch.full((len(segments),), FRAMES)
    frames_B = model.encoder.output_lengths(lengths_B)
    kept_BL = kept_layers(config, model.encoder, segments, number)
    model.zero_grad()
    with drawn_by(dropout_draws(config, segments, frames_B)):
        logits_BSV, _ = model(features_BTF.repeat(kappa, 1, 1), lengths_B, kept_BL)
    (logits_BSV.square().mean()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def variance(unit: str, kappa: int, batches: int) -> float:
    """Of the gradient over batches of the same utterances, summed over the parameters."""
    model = small_model(width=16, feed_forward_width=32, layers=6, layer_drop=0.3, dropout=0.1)
    config = Config.model_validate({"model": {"layer_drop_unit": unit}})
    gradients = [gradient(config, model.train(), kappa, number) for number in range(batches)]
    return float(torch.stack(gradients).var(dim=0).sum())


def test_a_batch_eight_times_as_large_has_an_eighth_of_the_noise() -> None:
    """Drawn once a batch, as before, the noise of LayerDrop stays: several times what the rule assumes."""
    ratio = {u: variance(u, 1, 160) / variance(u, 8, 160) for u in ("utterance", "batch")}
    assert ratio["utterance"] == pytest.approx(8.0, rel=0.25)
    assert ratio["batch"] < 4.0


def test_an_utterance_draws_the_same_whatever_it_is_batched_with() -> None:
    model = small_model(layer_drop=0.4, dropout=0.2).train()
    segments = [Segment(Kind.UNTRANSCRIBED, index, 3, 1.0) for index in range(6)]
    lengths_B = torch.tensor([30, 60, 90, 45, 75, 20])
    features_BTF = torch.randn(6, 90, 80)
    for own_TF, frames in zip(features_BTF, lengths_B, strict=True):
        own_TF[frames:] = 0

    def logits(rows: list[int]) -> torch.Tensor:
        own, frames = [segments[r] for r in rows], lengths_B[rows]
        kept_BL = kept_layers(Config(), model.encoder, own, batch_number=len(rows))
        with drawn_by(dropout_draws(Config(), own, model.encoder.output_lengths(frames))):
            return model(features_BTF[rows, : int(frames.max())], frames, kept_BL)[0]

    together = logits(list(range(6)))
    for row in range(6):
        [alone_SV] = logits([row])
        assert torch.allclose(together[row, : len(alone_SV)], alone_SV, atol=1e-5)


def test_a_layer_that_all_drop_is_skipped_and_still_has_a_gradient() -> None:
    """Under ZeRO 3 its weights are gathered by all ranks, of which another may have kept it."""
    model = small_model(dropout=0).train()
    inputs = torch.randn(2, 50, 80), torch.tensor([50, 30])
    logits, _ = model(*inputs, torch.tensor([[True, False, True]] * 2))
    logits.sum().backward()
    assert all(not p.grad.any() for p in model.encoder.blocks[1].parameters())
    del model.encoder.blocks[1]
    assert torch.equal(logits, model(*inputs)[0])
