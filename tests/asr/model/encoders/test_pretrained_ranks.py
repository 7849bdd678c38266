"""Pretrained students under DeepSpeed: ranks and ZeRO's stages change no loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_helpers import on_ranks

pytest.importorskip("transformers")


@pytest.mark.slow
def test_ranks_and_stages_change_no_loss(tmp_path: Path) -> None:
    """Two utterances that skip different layers, on a rank or one each on two."""
    alone = on_ranks("losses", 1, tmp_path, "pretrained_engine")
    for family, found in on_ranks("losses", 2, tmp_path, "pretrained_engine").items():
        expected = alone[family]["fp32 0"]
        assert expected[0] - expected[-1] > 0.1, family
        assert sorted(found) == ["bf16 2", "bf16 3", "fp32 0", "fp32 2", "fp32 3"]
        for case, losses in found.items():
            tolerance = 1e-5 if case.startswith("fp32") else 0.05
            assert losses == pytest.approx(expected, abs=tolerance), f"{family}, {case}"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_parts_begin_late_and_layers_learn_less(ranks: int, tmp_path: Path) -> None:
    """Adam's step is at most the learning rate: what begins late has a step count and moments of its own.

    The encoder begins with the third update, its front end with the fourth; a layer learns half as fast as the
    one above it, the head three times as fast. Resumed before the fourth it is the same bit for bit.
    """
    found = on_ranks("fine_tuning", ranks, tmp_path, "pretrained_engine")
    assert len(found) == 11
    shares = {
        "head.weight": (0, 3.0),
        "network.encoder.layer_norm.weight": (2, 1.0),
        "network.encoder.layers.1.attention.q_proj.weight": (2, 0.5),
        "network.encoder.layers.0.attention.q_proj.weight": (2, 0.25),
        "network.feature_projection.projection.weight": (3, 0.125),
        "network.feature_extractor.conv_layers.0.conv.weight": (3, 0.125),
    }
    for case, own in found.items():
        assert own["steps"] == [0.0, 1.0, 3.0], case
        assert own["groups"] == 5
        assert own["is_same"], case
        assert own["resumed"] == own["losses"][3:]
        tolerance = 1e-5 if case.startswith("fp32") else 0.05
        assert own["losses"] == pytest.approx(found["fp32 0"]["losses"], abs=tolerance), case
        for number, moves in enumerate(own["moves"]):
            for name, (begin, share) in shares.items():
                expected = 0.0 if number < begin else share * 1e-3
                assert moves[name] == pytest.approx(expected, rel=0.03), (case, number, name)
