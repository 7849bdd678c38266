"""Launchers that say all, half, or nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from conftest import PLAIN

from asr.__main__ import main
from asr.errors import UserError
from asr.utils.launcher import ranks_announced
from asr.utils.signals import Interrupted

PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        *PLACE,
        "SLURM_STEP_NUM_TASKS",
        "OMPI_COMM_WORLD_SIZE",
    ):
        monkeypatch.delenv(name, raising=False)


def test_what_a_launcher_says_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks_announced() == 1
    # A batch script runs beside as many tasks as it asked for, and is one process.
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert ranks_announced() == 1
    for name, value in {"RANK": "7", "WORLD_SIZE": "8", **PLACE}.items():
        monkeypatch.setenv(name, value)
    assert ranks_announced() == 8


def test_what_all_processes_find_the_first_one_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def ended(seconds: float) -> None:
        raise Interrupted(signal.SIGTERM)

    command = ["decode", str(tmp_path), "dev.jsonl.gz"]
    said, waits = [], (ended, lambda seconds: None)
    for rank, wait in (("0", None), *(("1", wait) for wait in waits)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("LOCAL_RANK", rank)
        if wait:
            monkeypatch.setattr("asr.utils.launcher.time.sleep", wait)
        assert main(command) == 2
        said.append(capsys.readouterr().err)
    assert f"{tmp_path}: neither a checkpoint" in said[0]
    assert said[1:] == ["", said[0]]


@pytest.mark.parametrize(
    "command",
    [["transcribe", "RUN", "a.wav", "--output-dir", "x"], ["average", "RUN", "--half-life=1"]],
)
def test_several_processes_do_not_write_the_same(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, parts in (("1", []), ("0", [f"2 processes of `asr {command[0]}` were started"])):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(command) == 2
        said = capsys.readouterr().err
        assert all(part in said for part in parts)
        assert len(said.splitlines()) == len(parts)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"WORLD_SIZE": "8"}, "WORLD_SIZE=8 is in the environment, and RANK is not"),
        ({"RANK": "0"}, "RANK=0 is in the environment, and WORLD_SIZE is not"),
        ({"RANK": "8", "WORLD_SIZE": "8"}, "RANK=8 and WORLD_SIZE=8"),
        ({"RANK": "x", "WORLD_SIZE": "8"}, "RANK=x in the environment is no number"),
        ({"RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "a"}, "MASTER_PORT is not"),
        ({"SLURM_STEP_NUM_TASKS": "8"}, "srun has started 8 of this"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun has started 2 of this"),
    ],
)
def test_half_of_a_launcher_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    """One kappa was printed, and another trained; or each process trained alone."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=says):
        ranks_announced()


def test_training_refuses_it_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert main(["train", str(recipe), f"output={tmp_path / 'run'}", *PLAIN]) == 2
    assert "WORLD_SIZE=8" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
