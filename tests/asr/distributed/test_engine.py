"""The clipping threshold of a step follows the batch; DeepSpeed's own settings."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest
from conftest import PLAIN, Train, asr_command, final
from safetensors.torch import load_file


def test_settings_of_deepspeed(recipe: Path, tmp_path: Path) -> None:
    def said(setting: str) -> str:
        command = [*asr_command(), "train", str(recipe), f"output={tmp_path / 'run'}"]
        done = subprocess.run([*command, setting], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, done.stderr
        return done.stderr

    wrong = "trainer.deepspeed={zero_optimization: {reduce_bucket_size: many}}"
    assert "DeepSpeed does not take it (ValidationError" in said(wrong)
    unknown = said("trainer.deepspeed={steps_per_prnt: 3}")
    assert "trainer.deepspeed.steps_per_prnt: DeepSpeed" in unknown
    assert "write steps_per_print, or leave it out" in unknown
    ours = "trainer.deepspeed={zero_optimization: {stage: 2}}"
    assert "give trainer.zero_stage" in said(ours)
    assert "give trainer.precision" in said("trainer.deepspeed={bf16: {enabled: true}}")


@pytest.mark.parametrize("stage", [pytest.param(0, marks=pytest.mark.slow), 1])
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
