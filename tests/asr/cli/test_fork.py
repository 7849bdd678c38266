"""`asr fork` finds the checkpoint, and is `asr train` from there on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import asr_command, read_lines

from asr.__main__ import main
from asr.cli.runs.fork import checkpoint_at
from asr.errors import UserError
from asr.model.lineage import identity_of, own_checkpoints


def test_the_last_checkpoint_at_or_before_so_many_hours(trained: Path) -> None:
    stand = {path: one.seconds / 3600 for path, one in own_checkpoints(trained / "checkpoints")}
    *_, earlier, last = stand
    assert checkpoint_at(trained, None) == last
    assert checkpoint_at(trained, 1000.0) == last
    assert checkpoint_at(trained, stand[last] - 1e-3) == earlier
    assert checkpoint_at(trained, float(f"{stand[earlier]:.4f}")) == earlier
    with pytest.raises(UserError, match=f"its checkpoints stand at .*{stand[last]:.3f}"):
        checkpoint_at(trained, 0.0)
    with pytest.raises(UserError, match="neither a checkpoint"):
        checkpoint_at(trained / "decode", 1.0)
    with pytest.raises(UserError, match="a checkpoint and no run"):
        checkpoint_at(last, 1.0)


@pytest.mark.slow
def test_a_fork_trains_and_the_same_command_goes_on(trained: Path, tmp_path: Path) -> None:
    earlier, last = [path for path, _ in own_checkpoints(trained / "checkpoints")][-2:]
    hours = identity_of(last).seconds / 3600 - 1e-3
    fork = tmp_path / "a fork: 1e3"
    command = [*asr_command(), "fork", str(trained), "--at", str(hours), "--output", str(fork)]
    done = subprocess.run(
        [*command, "trainer.total_hours=0.055"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"forking from {earlier}" in done.stdout
    first = read_lines(fork / "metrics.jsonl")
    steps = [line["step"] for line in first if "loss" in line]
    assert steps == list(range(1, len(steps) + 1))
    again = subprocess.run(
        [*command, "trainer.total_hours=0.06"], capture_output=True, text=True, check=True
    )
    assert "resuming from" in again.stdout
    lines = read_lines(fork / "metrics.jsonl")
    assert lines[: len(first)] == first
    assert len(lines) > len(first)


def test_a_fork_into_the_run_itself_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fork", str(trained), "--at", "1", "--output", str(trained)]) == 2
    assert "is the run itself" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    for name in ("latest", "config.yaml"):
        (other / name).write_bytes((trained / name).read_bytes())
    assert main(["fork", str(trained), "--at", "1", "--output", str(other)]) == 2
    assert f"holds a run that is no fork of {trained}" in capsys.readouterr().err
    assert main(["fork", str(trained), "--at", "0", "--output", str(tmp_path / "new")]) == 2
    assert "no checkpoint at or before" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
