"""Services that follow a run: no point twice, none left out, whatever is killed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tracking_helpers
from conftest import asr_command, kill_after_lines, read_lines
from tracking_helpers import Curves, await_lines, begin, evaluate, log_batches

from asr.tracking.loggers.following import FollowingLogger


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("AIM_REPOSITORY", str(tmp_path))


def read(service: str, run: Path) -> tuple[Curves, dict[str, Any]]:
    reader: Callable[[Path], tuple[Curves, dict[str, Any]]]
    reader = getattr(tracking_helpers, f"{service}_curves")
    return reader(run)


def batches_of(service: str, curves: Curves, name: str) -> list[int]:
    """W&B's step is the line's number; batches are in a column."""
    if service == "wandb":
        return [round(value) for _, value in curves[f"{name.rpartition('/')[0]}/batch"]]
    return [step for step, _ in curves[name]]


def kill(log: Any) -> None:
    """Training and follower at once."""
    for logger in log.loggers:
        assert isinstance(logger, FollowingLogger)
        assert logger._process is not None
        logger._process.kill()
        logger._process.wait()


@pytest.mark.parametrize(
    "service",
    ["wandb", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mlflow", "aim"))],
)
def test_no_point_twice_and_none_left_out(service: str, tmp_path: Path) -> None:
    pytest.importorskip(service)
    run = tmp_path / "run"
    log = begin(run, [service])
    log_batches(log, 1, 5)
    await_lines(run, service, 6)
    kill(log)
    # The checkpoint is of batch 3, before its evaluation.
    progress = json.loads((run / "tracking" / f"{service}.json").read_text())
    if service != "wandb":  # a kill before it was noted what has arrived
        progress["sent"] = 2
        (run / "tracking" / f"{service}.json").write_text(json.dumps(progress))
    log = begin(run, [service], batches=3, again=True)
    evaluate(log)
    log_batches(log, 4, 7)
    log.close()
    assert "warning" not in (run / "train.log").read_text()
    curves, settings = read(service, run)
    assert batches_of(service, curves, "train/loss") == [1, 2, 3, 4, 5, 6, 7]
    assert [value for _, value in curves["train/loss"]] == pytest.approx(
        [1 / b for b in range(1, 8)]
    )
    assert batches_of(service, curves, "dev/teacher/wer") == [3]
    assert "train/pseudo_labels_dropped/empty" in curves
    assert float(settings.get("scaling_card.kappa") or settings["scaling_card"]["kappa"]) == 2.0
    assert settings["name"].strip('"') == "a run"
    assert json.loads((run / "tracking" / f"{service}.json").read_text())["run"] == progress["run"]


@pytest.mark.slow
def test_another_recipe_after_a_kill_gets_a_run_of_its_own(tmp_path: Path) -> None:
    """What the former process sent after the checkpoint is not what comes now."""
    pytest.importorskip("mlflow")
    run = tmp_path / "run"
    log = begin(run, ["mlflow"])
    log_batches(log, 1, 5)
    await_lines(run, "mlflow", 6)
    kill(log)
    log = begin(run, ["mlflow"], batches=4, optimizer={"learning_rate": 0.5})
    log_batches(log, 5, 6, loss=10.0)
    log.close()
    curves, settings = read("mlflow", run)
    losses = [1.0, 1 / 2, 1 / 3, 1 / 4, 10 + 1 / 5, 10 + 1 / 6]
    assert [value for _, value in curves["train/loss"]] == pytest.approx(losses)
    assert settings["optimizer.learning_rate"] == "0.5"
    assert len(settings["runs"]) == 2


@pytest.mark.slow
def test_a_service_that_cannot_be_reached_is_said_once_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    run = tmp_path / "run"
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    log = begin(run, ["wandb"])
    [logger] = log.loggers
    log_batches(log, 1, 3)
    assert isinstance(logger, FollowingLogger)
    assert logger._process is not None
    logger._process.wait(60)
    log_batches(log, 4, 5)
    log.close()
    [line] = (run / "train.log").read_text().splitlines()[1:]
    assert line.startswith("warning: tracking.loggers: wandb: UsageError: No API key configured")
    assert line.endswith("the training goes on, and `asr train` again sends what is missing")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = begin(run, ["wandb"], batches=5)
    log.close()
    curves, _ = read("wandb", run)
    assert batches_of("wandb", curves, "train/loss") == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_training_that_is_killed_and_goes_on(recipe: Path, tmp_path: Path) -> None:
    """Its follower sends what the killed one has logged; of that the other makes the same again."""
    pytest.importorskip("wandb")
    run = tmp_path / "run"
    command = [
        *asr_command(2),
        "train",
        str(recipe),
        f"output={run}",
        "tracking.loggers=[wandb,csv]",
    ]
    kill_after_lines(command, run, 6)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tracking.loggers" not in done.stderr
    lines = [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    curves, settings = read("wandb", run)
    assert batches_of("wandb", curves, "train/loss") == [line["batch"] for line in lines]
    assert [value for _, value in curves["train/loss"]] == [line["loss"] for line in lines]
    assert settings["scaling_card"]["ranks"] == 2
    table = (run / "csv" / "train.csv").read_text().splitlines()
    assert len(table) == 1 + len(lines)
