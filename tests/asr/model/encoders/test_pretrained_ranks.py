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
