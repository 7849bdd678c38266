"""Dropout keeps the expectation."""

from __future__ import annotations

import pytest
import torch

from asr.model.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_expectation(rate: float) -> None:
    torch.manual_seed(0)
    dropout = Dropout(rate).train()
    dropped = dropout(torch.ones(1000, 999))
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.01)
    assert torch.equal(dropout.eval()(torch.ones(5)), torch.ones(5))
