"""Another batch in mid-run: by a schedule, or by a resume. The rule applies from there on."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import PLAIN, Train, asr_command, final, read_lines, same_weights
from safetensors.torch import load_file
from torch import nn

from asr.config.recipe import load_config
from asr.distributed.shards import Shards
from asr.errors import UserError
from asr.scaling.card import plan_row
from asr.scaling.rule import in_force

SCHEDULE = "batch.batch_seconds=[[0,15],[0.02,60],[0.055,30]]"
LONG = "trainer.total_hours=0.08"


def updates(run: Path) -> list[dict[str, float]]:
    return [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]


def ids(run: Path) -> list[str]:
    lines = read_lines(run / "utterances.jsonl")
    return [name for line in lines for kind in ("labelled", "untranscribed") for name in line[kind]]


def test_a_progressive_run_keeps_stream_and_half_life(train: Train, recipe: Path) -> None:
    run = train("progressive", LONG, SCHEDULE)
    lines = updates(run)
    kappas = [line["kappa"] for line in lines]
    assert [k for k, before in zip(kappas, [0, *kappas], strict=False) if k != before] == [1, 4, 2]
    plain = read_lines(train("plain", LONG) / "utterances.jsonl")
    for kind in ("labelled", "untranscribed"):
        together = [name for line in read_lines(run / "utterances.jsonl") for name in line[kind]]
        reference = [name for line in plain for name in line[kind]]
        shorter = min(len(together), len(reference))
        assert together[:shorter] == reference[:shorter]
    for line in lines:
        assert line["teacher_momentum"] == pytest.approx(0.5 ** (line["batch_seconds"] / 36))
    product = math.prod(line["teacher_momentum"] for line in lines)
    assert product == pytest.approx(0.5 ** (lines[-1]["hours"] / 0.01))
    config = load_config(recipe, [LONG, SCHEDULE])
    history = json.loads((run / "scaling.json").read_text())["history"]
    assert [card["kappa"] for card in history] == [1, 4, 2]
    for card in history:
        values = in_force(config, 15 * card["kappa"])
        assert card["in_force"]["learning_rate"] == values.learning_rate
        assert tuple(card["in_force"]["betas"]) == values.betas
        assert card["in_force"]["half_life_hours"] == 0.01
    starts = [next(u for u in lines if u["kappa"] == k)["hours"] for k in (1, 4, 2)]
    assert all(c["from_hours"] < hours for c, hours in zip(history, starts, strict=True))


@pytest.mark.parametrize("stage", [0, 1])
def test_the_clipping_threshold_follows_the_batch(train: Train, stage: int) -> None:
    """With SGD and a threshold that always clips, a step is learning rate x threshold long."""
    settings = [
        "optimizer.kind=sgd",
        "optimizer.max_gradient_norm=1e-3",
        "optimizer.warmup_hours=0",
    ]
    settings += ["scaling.gradient_clipping=sqrt", "optimizer.learning_rate=0.01", *PLAIN]
    settings += [f"trainer.zero_stage={stage}", "trainer.checkpoint_every_hours=10"]
    ends = []
    for name, batch in (("one", "15"), ("four", "[[0,15],[0.0041,60]]")):
        # One update at kappa 1, and in the second run another one at kappa 4.
        hours = 0.004 if name == "one" else 0.02
        options = [f"batch.batch_seconds={batch}", f"trainer.total_hours={hours}"]
        ends.append(load_file(final(train(name, *settings, *options)) / "student.safetensors"))
    moved = math.sqrt(sum(float((ends[1][n] - ends[0][n]).square().sum()) for n in ends[0]))
    assert moved == pytest.approx(4 * 0.01 * 1e-3 / 2, rel=1e-3)


def test_a_progressive_run_resumes_exactly(train: Train) -> None:
    options = [LONG, SCHEDULE, "trainer.checkpoint_every_hours=0.005"]
    whole = train("whole", *options)
    for hours in (0.021, 0.057):
        train("parts", SCHEDULE, f"trainer.total_hours={hours}")
    parts = train("parts", *options)
    assert same_weights(*(final(run) / "teacher.safetensors" for run in (whole, parts)))
    losses = [[line["loss"] for line in updates(run)] for run in (whole, parts)]
    assert losses[0] == losses[1]
    histories = [json.loads((r / "scaling.json").read_text())["history"] for r in (whole, parts)]
    assert [[c["kappa"] for c in history] for history in histories] == [[1, 4, 2]] * 2


def test_a_resume_may_change_the_batch_but_not_the_reference(train: Train, recipe: Path) -> None:
    run = train("run", "trainer.total_hours=0.02", *PLAIN)
    before = len(ids(run))
    train("run", "batch.batch_seconds=45", *PLAIN)
    assert {line["kappa"] for line in updates(run)} == {1, 3}
    assert len(ids(run)) > before
    history = json.loads((run / "scaling.json").read_text())["history"]
    assert [card["kappa"] for card in history] == [1, 3]
    assert "kappa 1 -> 3" in (run / "train.log").read_text()
    command = [*asr_command(), "train", str(recipe), f"output={run}", "trainer.total_hours=1"]
    command += [*PLAIN, "scaling.reference_batch_seconds=30"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert refused.returncode == 2
    assert "another 'scaling.reference_batch_seconds'" in refused.stderr


def test_plan_counts_the_steps_of_a_schedule(recipe: Path) -> None:
    config = load_config(recipe, ["batch.batch_seconds=[[0,15],[1,60]]", "trainer.total_hours=2"])
    assert plan_row(config, 1)["total_steps"] == 240 + 60
    assert plan_row(config, 1, from_hours=1.5)["kappa"] == 4


@pytest.mark.parametrize(
    "schedule", ["[[1,15]]", "[[0,15],[0,30]]", "[[0,15],[5,30],[4,60]]", "[]"]
)
def test_a_schedule_begins_at_zero_and_ascends(recipe: Path, schedule: str) -> None:
    with pytest.raises(UserError, match="batch"):
        load_config(recipe, [f"batch.batch_seconds={schedule}"])


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
