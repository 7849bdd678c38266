"""A rank takes the GPU of its place."""

from __future__ import annotations

import pytest
import torch

from asr.distributed import process_group
from asr.errors import UserError


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL would not say so: torch speaks of an invalid ordinal, or two ranks of one GPU hang."""
    monkeypatch.setattr(process_group, "has_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"DS_ACCELERATOR": "", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        process_group.join("highest")
    assert "2 ranks were started on this machine, which shows 1 GPU to them" in str(caught.value)
    assert "--nproc-per-node 1" in caught.value.remedy
