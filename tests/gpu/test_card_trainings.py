"""A training on a card: the CPU's numbers at each precision, checkpoints that go on, and an idle share."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from conftest import DROP, final, losses, relative_distance
from gpu_helpers import DEVICES, HAS_CARD, busy_share, kernels, needs_card, run_asr

import asr
from asr.distributed.process_group import join
from asr.training.trainer import Trainer

TOLERANCES = {"fp32": (2e-3, 2e-3), "autocast": (3e-2, 3e-2), "bf16": (3e-2, 3e-2)}
"""Of losses, and of weights by their norm, after the short run below."""
SHORT = [*DROP, "trainer.total_hours=0.025", "trainer.evaluation_every_hours=10"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", TOLERANCES)
def test_losses_and_weights_are_those_of_the_cpu(
    precision: str, device: str, recipe: Path, tmp_path: Path
) -> None:
    """Student and teacher; half of the run is on the teacher's labels."""
    stage = 0 if precision == "fp32" else 1
    settings = [*SHORT, f"trainer.precision={precision}", f"trainer.zero_stage={stage}"]
    runs = [tmp_path / name for name in ("here", "there")]
    for run, where in zip(runs, ("cpu", device), strict=True):
        run_asr("train", recipe, f"output={run}", *settings, device=where)
    of_losses, of_weights = TOLERANCES[precision]
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=of_losses)
    for name in ("student", "teacher"):
        left, right = (final(run) / f"{name}.safetensors" for run in runs)
        assert relative_distance(left, right) < of_weights, name


@pytest.mark.parametrize("device", DEVICES)
def test_a_checkpoint_goes_on(device: str, recipe: Path, tmp_path: Path) -> None:
    """On the same device as if nothing had been, and on the other one within the tolerance."""
    whole, cut, away = (tmp_path / name for name in ("whole", "cut", "away"))
    half = "trainer.total_hours=0.013"
    run_asr("train", recipe, f"output={whole}", *SHORT, device=device)
    for run, where in ((cut, device), (away, "cpu")):
        run_asr("train", recipe, f"output={run}", *SHORT, half, device=device)
        run_asr("train", recipe, f"output={run}", *SHORT, device=where)
    of_losses, of_weights = TOLERANCES["fp32"]
    for run in (cut, away):
        assert losses(run) == pytest.approx(losses(whole), rel=of_losses)
        left, right = (final(one) / "teacher.safetensors" for one in (whole, run))
        assert relative_distance(left, right) < of_weights


@needs_card
def test_what_the_card_waits_for_is_shown(recipe: Path, tmp_path: Path) -> None:
    """The share of ten updates in which it has nothing to do, of a network that is worth a card."""
    width = {"model.width": 512, "model.heads": 8, "model.feed_forward_width": 2048}
    settings = {"model.layers": 22, "trainer.precision": "bf16", "trainer.zero_stage": 1}
    config = asr.load_config(recipe, {"output": str(tmp_path / "run"), **width, **settings})
    trainer = Trainer(config, join(config.trainer.matmul_precision))
    batches = trainer.data.batches(trainer.state.position, 0, 1)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    profiler = torch.profiler.profile(activities=activities)
    for number in range(15):
        if number == 5:  # cuDNN, cuBLAS and the allocator have settled
            torch.cuda.synchronize()
            started = time.perf_counter()
            profiler.start()
        trainer.engine.set_learning_rate(1.0)
        trainer.train_step.accumulate(next(batches), number, trainer.state.clock.hours)
        assert trainer.engine.step()
    torch.cuda.synchronize()
    wall_seconds = time.perf_counter() - started
    profiler.stop()
    trace = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(trace))
    found = kernels(trace)
    assert found
    begin = min(start for start, _ in found)
    share = busy_share(found, begin, begin + 1e6 * wall_seconds)
    print(f"{torch.cuda.get_device_name()}: idle {1 - share:.1%} of {wall_seconds:.2f} s")
    assert 0.0 < share <= 1.0


def test_overlapping_work_is_counted_once() -> None:
    assert busy_share([(0, 2), (1, 3), (8, 20)], 0, 10) == pytest.approx(0.5)
    assert busy_share([], 0, 10) == 0
    assert torch.cuda.is_available() == HAS_CARD
