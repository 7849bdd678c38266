"""A checkpoint is written while training goes on, and holds what was there when it began."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import asr_command, read_lines

from asr.model.lineage import noted_files, own_checkpoints, read_state
from asr.training.checkpoints.background import Background

SLOWLY = """
import sys, time
from pathlib import Path
from asr.training import checkpoint
from asr.__main__ import main

LEDGER = Path(sys.argv[-1].removeprefix("output=")) / "utterances.jsonl"
write, slow = checkpoint.write_tensors, []

def slowly(path, tensors):
    if not slow:
        slow.append(1)
        before, deadline = LEDGER.stat().st_size, time.monotonic() + 60
        while LEDGER.stat().st_size == before:
            assert time.monotonic() < deadline, "training waits"
            time.sleep(0.01)
    write(path, tensors)

checkpoint.write_tensors = slowly
sys.exit(main(sys.argv[1:]))
"""
AT_ONCE = """
import sys
from asr.training.checkpoints.background import Background
from asr.__main__ import main
Background.begin = lambda self, work: work()  # in the training thread
sys.exit(main(sys.argv[1:]))
"""
FAILS = """
import sys
from asr.errors import UserError
from asr.training import checkpoint
from asr.training.trainer import Trainer
from asr.__main__ import main

write, evaluate = checkpoint.write_tensors, Trainer._evaluate

def slowly(path, tensors):
    __import__("time").sleep(0.5)
    write(path, tensors)

def fails(self):
    raise UserError("the evaluation fails", "mend it")

checkpoint.write_tensors, Trainer._evaluate = slowly, fails
sys.exit(main(sys.argv[1:]))
"""
OFTEN = ["trainer.total_hours=0.05", "trainer.checkpoint_every_hours=0.012", "trainer.keep_last=9"]
OFTEN += ["trainer.evaluation_every_hours=1"]


def files(run: Path) -> list[tuple[str, dict[str, str]]]:
    """Names of all checkpoints, and SHA-256 of what they hold."""
    return [
        (path.name, dict(noted_files(read_state(path))))
        for path, _ in own_checkpoints(run / "checkpoints")
    ]


def test_training_goes_on_and_the_checkpoint_is_of_its_moment(recipe: Path, tmp_path: Path) -> None:
    runs = {}
    for name, script in (("slowly", SLOWLY), ("at once", AT_ONCE)):
        runs[name] = tmp_path / name
        command = [sys.executable, "-c", script, "train", str(recipe), *OFTEN]
        subprocess.run([*command, f"output={runs[name]}"], check=True, capture_output=True)
    slowly, at_once = map(files, runs.values())
    assert len(slowly) >= 4
    for (name, found), (expected_name, expected) in zip(slowly, at_once, strict=True):
        assert name == expected_name
        assert {n: d for n, d in found.items() if n != "config.yaml"} == {
            n: d
            for n, d in expected.items()
            if n != "config.yaml"  # it says `output`
        }


def test_what_was_begun_is_completed_where_training_fails(recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FAILS, "train", str(recipe), *OFTEN, f"output={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "asr train: the evaluation fails; mend it"
    [(name, _)] = files(tmp_path)
    assert (tmp_path / "latest").read_text().strip() == name


def test_checkpoints_may_be_minutes_apart(recipe: Path, tmp_path: Path) -> None:
    """What is left out is evaluated; the last one is there."""
    command = [*asr_command(), "train", str(recipe), *OFTEN, "trainer.checkpoint_minutes_apart=60"]
    subprocess.run([*command, f"output={tmp_path}"], check=True, capture_output=True)
    [(name, _)] = files(tmp_path)
    lines = read_lines(tmp_path / "metrics.jsonl")
    evaluated = {line["hours"] for line in lines if "wer" in line}
    assert len(evaluated) >= 4
    assert name == f"hours-{max(evaluated):011.4f}"


def test_after_a_write_that_failed_nothing_that_stands_on_it_is_written() -> None:
    """The checkpoint after an evaluation takes the weights of the one before it."""
    done, background = list[str](), Background()

    def fails() -> None:
        raise OSError("No space left on device")

    for work in (lambda: done.append("first"), fails, lambda: done.append("on it")):
        background.begin(work)
    with pytest.raises(OSError, match="No space left"):
        background.wait()
    background.wait()
    background.close()
    assert done == ["first"]
