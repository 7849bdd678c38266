"""The teacher is the average and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from model_helpers import small_model

from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.teacher.ema import WeightAverage


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99999, 1.0])
def test_the_teacher_is_the_average_and_nothing_else(momentum: float) -> None:
    student = small_model()
    optimizer = torch.optim.AdamW(student.parameters())
    engine = SimpleNamespace(optimizer=optimizer, zero_optimization_stage=lambda: 0)
    shards = Shards(dict(student.named_weights()), engine, ranks=1, rank=0)
    teacher = WeightAverage(small_model(), shards, Ranks(0, 1, torch.device("cpu")))
    before = {name: weight.clone() for name, weight in student.named_weights()}
    assert teacher.distance() == 0.0
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += torch.randn_like(parameter)
    teacher.update(momentum)
    for name, new in teacher.model().named_weights():
        source = dict(student.named_weights())[name].double()
        expected = momentum * before[name].double() + (1 - momentum) * source
        assert torch.allclose(new.double(), expected, atol=1e-6)
        assert new.dtype is torch.float32
        assert not new.requires_grad
    assert not teacher.model().training
