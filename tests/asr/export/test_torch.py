"""`asr export --to torch`: a program that computes what the model does, for any batch and length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import asr
from asr.__main__ import main


@pytest.mark.slow
def test_the_program_is_the_model(fluent: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    assert main(["export", str(fluent), "--to", "torch", "--output", str(output)]) == 0
    model = asr.load_model(fluent, device="cpu")
    program = torch.export.load(output / "waveform.pt2").module()
    for batch, samples in ((1, 3_000), (3, 31_000)):
        given = 0.1 * torch.randn(batch, samples), torch.tensor([samples, 2_000, 700][:batch])
        logits, frames = model.logits(*given)
        found, count = program(*given)
        assert count.tolist() == frames.tolist()
        for row, expected, end in zip(found, logits.log_softmax(-1), frames, strict=True):
            assert (row[:end] - expected[:end]).abs().max() < 1e-4
    assert "torch.export.load" in (output / "README.md").read_text("utf-8")
