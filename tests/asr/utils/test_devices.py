"""A GPU that torch cannot use is an error, and no slow run on the CPU."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from asr.__main__ import main
from asr.errors import UserError
from asr.planning.checks import machine
from asr.utils import devices

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and works")


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's file, of a GPU that this torch cannot use."""
    file = tmp_path / "nvidia0"
    file.touch()
    monkeypatch.setattr(devices, "_FILES_OF_GPUS", (str(tmp_path / "nvidia[0-9]*"),))
    monkeypatch.setenv(devices.CHOICE, "")
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return file


def test_a_gpu_that_torch_cannot_use_is_named(
    gpu: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(recipe), f"output={tmp_path / 'run'}"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"a GPU is here ({gpu}), and torch {torch.__version__} cannot use it" in said
    assert "--device cpu" in said
    assert main(["check", str(recipe)]) == 2
    assert "cannot use it" in capsys.readouterr().out
    assert main(["check", str(recipe), "--device", "cpu"]) == 0


def test_a_gpu_that_is_hidden_is_none(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="cannot use it"):
        devices.has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not devices.has_gpu()
    monkeypatch.setenv(devices.CHOICE, "cuda")
    with pytest.raises(UserError, match="cannot use it"):
        devices.has_gpu()
    monkeypatch.setenv(devices.CHOICE, "tpu")
    with pytest.raises(UserError, match="ASR_DEVICE=tpu"):
        devices.has_gpu()


def test_what_a_gpu_computes_fast_is_compared_with_the_recipe(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    card = SimpleNamespace(total_memory=16e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert main(["check", str(recipe), "trainer.precision=bf16", "trainer.zero_stage=1"]) == 2
    assert "T4 (compute capability 7.5) has no bf16 arithmetic" in capsys.readouterr().out
    assert main(["check", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert "leave a GPU's tensor cores idle" in said
    assert "has room for longer ones" not in said
    assert main(["check", str(recipe), "batch.max_seconds_per_micro_batch=5"]) == 0
    said = capsys.readouterr().out
    assert "4 micro-batches of a rank, and its GPU has room for longer ones" in said
    assert "batch.max_seconds_per_micro_batch=20 makes 1 of them" in said
    assert (
        main(["check", str(recipe), "batch.max_seconds_per_micro_batch=5", "--memory-gb=0.003"])
        == 0
    )
    assert "has room for longer ones" not in capsys.readouterr().out
