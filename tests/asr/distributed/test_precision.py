"""Training in bf16 beside fp32."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import PLAIN, Train, final, losses, read_lines
from engine_helpers import on_ranks
from safetensors.torch import load_file


@pytest.mark.slow
def test_bf16_trains_beside_fp32(train: Train) -> None:
    shorter = "trainer.total_hours=0.03"
    reference = train("reference", *PLAIN, shorter)
    run = train("bf16", *PLAIN, shorter, "trainer.zero_stage=1", "trainer.precision=bf16")
    assert losses(run) == pytest.approx(losses(reference), rel=0.05)


@pytest.mark.parametrize(
    "stage", [1, *(pytest.param(stage, marks=pytest.mark.slow) for stage in (2, 3))]
)
def test_the_teacher_of_a_bf16_student_moves_at_a_slow_momentum(train: Train, stage: int) -> None:
    # rho is 0.99999 at 15 s: in bf16 neither masters nor average would move at all.
    half_life_hours = 15 / 3600 * math.log(0.5) / math.log(0.99999)
    settings = [*PLAIN, f"teacher.half_life_hours={half_life_hours}", "trainer.total_hours=0.02"]
    settings += ["teacher.update_interval_seconds=0", "teacher.bias_correction=false"]
    settings += ["teacher.warmup_share=0"]
    sharded = [f"trainer.zero_stage={stage}", "trainer.precision=bf16"]
    run = train("bf16", *settings, *sharded, ranks=2)
    lines = read_lines(run / "metrics.jsonl")
    momentum = math.prod(line["teacher_momentum"] for line in lines if "loss" in line)
    student, teacher = (
        load_file(final(run) / f"{name}.safetensors") for name in ("student", "teacher")
    )
    start = load_file(
        final(train("start", *settings, "optimizer.learning_rate=1e-30")) / "teacher.safetensors"
    )
    moved = sum(float((teacher[n] - start[n]).norm()) for n in teacher)
    possible = sum(float((student[n] - start[n]).norm()) for n in teacher)
    assert 0.2 * (1 - momentum) * possible < moved < 1.5 * (1 - momentum) * possible
    assert any(bool((w != w.bfloat16().float()).any()) for w in student.values())


@pytest.mark.slow
def test_the_average_of_a_bf16_student_labels_in_bf16_and_is_evaluated_in_fp32(
    tmp_path: Path,
) -> None:
    """It was sent in fp32 and cast again in each of its layers' forward passes."""
    found = on_ranks("labelling_copy", 2, tmp_path)
    assert sorted(found) == ["1", "2", "3"]
    for case in found.values():
        assert case["types"] == ["torch.bfloat16", "torch.float32", "torch.bfloat16"]
        assert case["distances"] == [0.0, 0.0, 0.0]
        assert case["same_buffers"]
