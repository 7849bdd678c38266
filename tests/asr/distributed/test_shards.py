"""The same run on other ranks and at other ZeRO stages, from the start or from a checkpoint on."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import (
    DROP,
    Train,
    asr_command,
    final,
    kill_after_lines,
    losses,
    read_lines,
    relative_distance,
)
from engine_helpers import on_ranks
from torch import nn

from asr.distributed.shards import Shards


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_masters_that_are_put_back_are_in_the_next_pass(ranks: int, tmp_path: Path) -> None:
    assert on_ranks("networks_behind_their_masters", ranks, tmp_path) == []


def test_second_moment_policies() -> None:
    module = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    module(torch.ones(1, 2)).sum().backward()
    for _ in range(4):
        optimizer.step()
    engine = SimpleNamespace(optimizer=optimizer, zero_optimization_stage=lambda: 0)
    shards = Shards(dict(module.named_parameters()), engine, 1, 0)
    first, second = (shards.moments()[name][0].clone() for name in ("exp_avg", "exp_avg_sq"))
    shards.rescale_state(("exp_avg_sq", "step"), 0.25)
    assert torch.equal(shards.moments()["exp_avg_sq"][0], second / 4)
    assert torch.equal(shards.moments()["exp_avg"][0], first)
    assert shards.optimizer_steps == 1.0
    shards.reset_moments()
    assert shards.optimizer_steps == 0.0
    assert not shards.moments()["exp_avg"][0].any()


TWENTY_UPDATES = [*DROP, "trainer.total_hours=0.0833", "trainer.evaluation_every_hours=0.04"]


@pytest.fixture(scope="session")
def twenty(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty updates on one rank at stage 0. Read only."""
    run = tmp_path_factory.mktemp("twenty") / "run"
    command = [*asr_command(), "train", str(recipe), f"output={run}", *TWENTY_UPDATES]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    assert len(losses(run)) >= 20
    return run


_CUTS = [(s, r, m) for s in (0, 1, 2, 3) for r, m in ((1, 1), (2, 1), (1, 4), (2, 2))]
_QUICK_CUTS = [(2, 2, 2), (3, 2, 2)]
"""Stages, ranks and accumulation together; the slow ones alone, too, and stage 1."""


@pytest.mark.parametrize(
    ("stage", "ranks", "micro_batches"),
    [cut if cut in _QUICK_CUTS else pytest.param(*cut, marks=pytest.mark.slow) for cut in _CUTS],
)
def test_stages_ranks_and_accumulation_agree(
    train: Train, twenty: Path, stage: int, ranks: int, micro_batches: int
) -> None:
    if (stage, ranks, micro_batches) == (0, 1, 1):
        pytest.skip("the reference itself")
    cut = [f"trainer.zero_stage={stage}"]
    if stage == ranks == 2:
        cut.append(
            "trainer.deepspeed={zero_optimization: {overlap_comm: true, reduce_bucket_size: 500}}"
        )
    if stage == 3 and ranks == 2:  # weights are gathered once more
        cut.append("trainer.activation_checkpointing=true")
    if micro_batches > 1:
        cut.append(f"batch.max_seconds_per_micro_batch={15 / ranks / micro_batches}")
    run = train("run", *TWENTY_UPDATES, *cut, ranks=ranks)
    assert losses(run) == pytest.approx(losses(twenty), rel=1e-4)
    assert relative_distance(*(final(r) / "teacher.safetensors" for r in (twenty, run))) < 1e-5
    lines = read_lines(run / "metrics.jsonl")
    for one, other in zip(lines, read_lines(twenty / "metrics.jsonl"), strict=True):
        for name in ("gradient_norm", "teacher_student_distance"):
            if one.get(name) is not None:
                assert one[name] == pytest.approx(other[name], rel=1e-3)
    if micro_batches > 1:
        assert max(line.get("micro_batches", 0) for line in lines) >= ranks * micro_batches


@pytest.mark.parametrize(
    "legs",
    [
        # With kills between them in the test below.
        pytest.param([(2, 0), (1, 0), (2, 0)], marks=pytest.mark.slow),
        pytest.param([(2, 1), (1, 3), (2, 2), (1, 0)], marks=pytest.mark.slow),
        pytest.param([(1, 0), (2, 3), (1, 1)], marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_anywhere(train: Train, whole: Path, legs: list[tuple[int, int]]) -> None:
    run = whole
    for number, (ranks, stage) in enumerate(legs, start=1):
        hours = 0.05 * number / len(legs)
        run = train(
            "elastic",
            *DROP,
            f"trainer.zero_stage={stage}",
            f"trainer.total_hours={hours}",
            ranks=ranks,
        )
    assert read_lines(run / "utterances.jsonl") == read_lines(whole / "utterances.jsonl")
    assert losses(run) == pytest.approx(losses(whole), rel=1e-3)
    assert relative_distance(*(final(r) / "teacher.safetensors" for r in (whole, run))) < 1e-4


def test_a_run_killed_anywhere_goes_on_on_other_ranks(
    train: Train, recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    moments = random.Random(1)
    for ranks, stage in ((2, 2), (1, 0), (4, 1)):
        command = [*asr_command(ranks), "train", str(recipe), f"output={run}", *DROP]
        command += [f"trainer.zero_stage={stage}", "trainer.checkpoint_every_hours=0.004"]
        kill_after_lines(command, run, moments.randint(3, 5))
        assert not (run / "complete.json").exists()
    train("killed", *DROP, "trainer.checkpoint_every_hours=0.004", ranks=2)
    assert read_lines(run / "utterances.jsonl") == read_lines(whole / "utterances.jsonl")
    assert losses(run) == pytest.approx(losses(whole), rel=1e-3)
