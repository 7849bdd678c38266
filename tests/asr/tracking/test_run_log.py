"""Loggers: those that a recipe names receive every record of a run."""

from __future__ import annotations

import json
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from conftest import Train, read_lines

from asr.__main__ import main
from asr.config.recipe import load_config

OWN = """
import json
from collections.abc import Mapping
from typing import Any

from asr.tracking import MetricLogger, RunInfo


class Own(MetricLogger):
    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self.notes = []  # of its own
        self.file = (run.folder / "own.jsonl").open("a", encoding="utf-8")
        told = {"told": run.name, "batches": run.batches, "seed": run.settings["seed"]}
        self.file.write(json.dumps(told) + "\\n")

    def log(self, record: Mapping[str, Any], prefix: str) -> None:
        self.file.write(json.dumps([prefix, record]) + "\\n")

    def close(self) -> None:
        self.file.close()
"""


def test_a_logger_of_your_own_receives_what_metrics_jsonl_does(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    loggers = f"tracking.loggers=[{tmp_path}/own.py:Own]"
    short = ["pseudo_label.start_hours=null", "name=short"]
    run = train("run", loggers, *short, "trainer.total_hours=0.02")
    told, *records = read_lines(run / "own.jsonl")
    assert told == {"told": "short", "batches": 0, "seed": 1}
    assert [record for _, record in records] == read_lines(run / "metrics.jsonl")
    assert {prefix for prefix, _ in records} == {"train", "dev/student", "dev/teacher"}
    assert not (run / "tensorboard").exists()
    train("run", loggers, *short, "trainer.total_hours=0.03")
    told = json.loads((run / "own.jsonl").read_text().splitlines()[len(records) + 1])
    assert told["batches"] == records[-1][1]["batch"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("comet", "choose of tensorboard, csv, wandb, mlflow, aim, or FILE.py:CLASS"),
        ("tensorboard,tensorboard", "names one twice"),
        ("nowhere.py:Own", "no file nowhere.py"),
        ("own.py:Other", "derives from asr.tracking.MetricLogger"),
    ],
)
def test_a_logger_that_cannot_be_had_is_named(
    named: str,
    message: str,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("class Other: pass\n", encoding="utf-8")
    for command in ("check", "train"):
        assert main([command, str(recipe), f"tracking.loggers=[{named}]", "output=run"]) == 2
        output = capsys.readouterr()
        assert message in output.out + output.err


def test_the_older_name_of_the_setting_and_a_library_that_is_not_there(
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder of the library's name, as W&B makes one, is no library."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()
    older = tmp_path / "older.yaml"
    older.write_text("trainer: {loggers: [csv], total_hours: 1}\n")
    assert load_config(older).tracking.loggers == ["csv"]
    assert load_config(older, ["tracking.project=mine"]).tracking.loggers == ["csv"]
    config = load_config(older, ["trainer.loggers=[wandb]"])
    assert (config.tracking.loggers, config.trainer.total_hours) == (["wandb"], 1)
    monkeypatch.setattr(
        "asr.tracking.loggers.following.find_spec", lambda name: ModuleSpec(name, None)
    )
    for command in ("check", "train"):
        assert main([command, str(recipe), "tracking.loggers=[wandb]", "output=run"]) == 2
        output = capsys.readouterr()
        assert "pip install 'asr-ema[wandb]'" in output.out + output.err
