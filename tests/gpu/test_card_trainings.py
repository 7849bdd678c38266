"""A training on a card: the CPU's numbers at each precision, and checkpoints that go on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import DROP, final, losses, relative_distance
from gpu_helpers import DEVICES, HAS_CARD, busy_share, run_asr

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


def test_overlapping_work_is_counted_once() -> None:
    assert busy_share([(0, 2), (1, 3), (8, 20)], 0, 10) == pytest.approx(0.5)
    assert busy_share([], 0, 10) == 0
    assert torch.cuda.is_available() == HAS_CARD
