"""The clipping threshold of a step follows the batch; DeepSpeed's own settings."""

from __future__ import annotations

import math
import os
import subprocess
import sys
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


def test_deepspeed_takes_the_device_that_was_chosen(recipe: Path, tmp_path: Path) -> None:
    """It looks for a GPU where it is imported: with one there, `--device cpu` had its network on the GPU.

    What it prints of its memory is not among our lines.
    """
    program = (
        "import os, sys, asr.training.trainer\n"
        "assert 'deepspeed' not in sys.modules\n"
        "from asr.__main__ import main\n"
        f"assert main(['train', {str(recipe)!r}, 'output={tmp_path / 'run'}', '--device', 'cpu',\n"
        "    'trainer.precision=bf16', 'trainer.zero_stage=1', 'trainer.total_hours=0.009']) == 0\n"
        "assert os.environ['DS_ACCELERATOR'] == 'cpu'\n"
    )
    environment = {**os.environ, "DS_ACCELERATOR": "cuda"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "CPU Virtual Memory" not in done.stdout
