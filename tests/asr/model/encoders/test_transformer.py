"""Lengths, dropped layers and dropout of our own encoder."""

from __future__ import annotations

import pytest
import torch
from model_helpers import small_model


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_output_length_is_what_the_model_returns(stride: int) -> None:
    model = small_model(stride=stride).eval()
    for frames in range(1, 20):
        logits, [length] = model(torch.zeros(1, frames, 80), torch.tensor([frames]))
        assert logits.shape == (1, -(-frames // stride), 12)
        assert length == logits.shape[1]


def test_a_layer_is_skipped_whole_by_the_utterances_that_drop_it() -> None:
    model = small_model().eval()
    features_BTF, lengths_B = torch.randn(3, 50, 80), torch.tensor([50, 30, 40])
    all_kept, _ = model(features_BTF, lengths_B, torch.ones(3, 3, dtype=torch.bool))
    assert torch.equal(all_kept, model(features_BTF, lengths_B)[0])
    kept_BL = torch.tensor([[True, True, True], [True, False, True], [True, True, True]])
    mixed, _ = model(features_BTF, lengths_B, kept_BL)
    del model.encoder.blocks[1]
    without, _ = model(features_BTF, lengths_B)
    assert torch.allclose(mixed[0], all_kept[0], atol=1e-5)
    assert torch.allclose(mixed[1, :10], without[1, :10], atol=1e-5)


def test_dropout_changes_in_the_blocks_and_not_in_the_front_end() -> None:
    model = small_model(dropout=0.3)
    model.encoder.set_dropout(0.1, 0.05)
    assert model.encoder.front_end.dropout.p == 0.3
    assert model.encoder.layer_drop == 0.05
    rates = {m.p for m in model.encoder.blocks.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.1}
