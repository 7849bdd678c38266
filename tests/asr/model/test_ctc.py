"""CTC is feasible where torch's loss is finite."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from asr.model.ctc import is_feasible


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(1, 12))
def test_feasibility_is_where_torch_s_loss_is_finite(target: list[int], frames: int) -> None:
    log_probs = torch.zeros(frames, 1, 4).log_softmax(-1)
    loss = functional.ctc_loss(
        log_probs, torch.tensor([target]), torch.tensor([frames]), torch.tensor([len(target)])
    )
    assert bool(torch.isfinite(loss)) == is_feasible(target, frames)
