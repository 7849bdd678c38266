"""Activation checkpointing keeps less, and changes no gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretrained_helpers import write_pretrained
from torch import Tensor

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.model.dropout import UtteranceDraws, drawn_by
from asr.model.make import make_front_end, make_model

OURS = {"width": 16, "heads": 2, "layers": 3, "feed_forward_width": 32, "convolution_kernel": 3}


def gradients(config: Config, keeps_less: bool) -> dict[str, Tensor]:
    """Of two utterances, of which one drops the second layer, with dropout drawn for each."""
    torch.manual_seed(0)
    network = make_model(config, 12).train()
    network.set_dropout(0.3, 0.3)
    network.encoder.recomputes = keeps_less
    front_end = make_front_end(config, network.encoder)
    samples_B = torch.tensor([16_000, 12_000])
    waveforms_BN = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1))
    features_BTF, lengths_B = front_end(waveforms_BN, samples_B)
    frames = network.encoder.output_lengths(lengths_B).tolist()
    draws = UtteranceDraws([torch.Generator().manual_seed(seed) for seed in (2, 3)], frames)
    kept_BL = torch.ones(2, network.encoder.layers, dtype=torch.bool)
    kept_BL[1, 1] = False
    with drawn_by(draws):
        logits_BSV, _ = network(features_BTF, lengths_B, kept_BL)[:2]
    logits_BSV.square().mean().backward()
    return {n: w.grad.clone() for n, w in network.named_weights() if w.grad is not None}


@pytest.mark.parametrize("family", ["ours", "whisper", "wav2vec2"])
def test_gradients_are_the_same_bit_for_bit(family: str, tmp_path: Path) -> None:
    model: dict[str, object] = OURS
    if family != "ours":
        write_pretrained(tmp_path, family)
        model = {"kind": "pretrained", "encoder": str(tmp_path)}
    config = parse_config({"model": model}, "test")
    plain, recomputed = gradients(config, False), gradients(config, True)
    assert plain.keys() == recomputed.keys()
    assert any(bool(gradient.any()) for gradient in plain.values())
    for name, gradient in plain.items():
        assert torch.equal(gradient, recomputed[name]), name
