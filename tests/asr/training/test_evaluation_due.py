"""The checkpoint comes before the evaluation, which may fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import asr_command, final, read_lines, same_weights, without_wall_time, write_folder

from asr.__main__ import main
from asr.utils.files import read_json

KILLED = """
import json, os, sys, time
from pathlib import Path
from asr.training.validation.texts import TextDevSets
from asr.__main__ import main

evaluate, calls = TextDevSets.evaluate, []
RUN = Path(sys.argv[-1].removeprefix("output="))

def is_saved():
    states = [json.loads(path.read_text()) for path in RUN.glob("checkpoints/hours-*/state.json")]
    is_there = any(state["clock"]["steps"] == 8 for state in states)
    return is_there and not any(RUN.glob("checkpoints/.p*"))

def killed(self, *arguments):
    calls.append(1)
    if len(calls) == 4:
        deadline = time.monotonic() + 60
        while not is_saved() and time.monotonic() < deadline:  # the checkpoint is written meanwhile
            time.sleep(0.01)
        os._exit(9)
    return evaluate(self, *arguments)

TextDevSets.evaluate = killed
main(sys.argv[1:])
"""
OFTEN = ["trainer.checkpoint_every_hours=0.02", "trainer.total_hours=0.03"]


def test_a_run_that_ends_in_its_evaluation_goes_on_exactly_from_there(
    recipe: Path, tmp_path: Path
) -> None:
    arguments = ["train", str(recipe), *OFTEN]
    whole, run = tmp_path / "whole", tmp_path / "run"
    subprocess.run([*asr_command(), *arguments, f"output={whole}"], check=True, capture_output=True)
    killed = [sys.executable, "-c", KILLED, *arguments, f"output={run}"]
    assert subprocess.run(killed, capture_output=True, check=False).returncode == 9
    # All is trained, and of the last evaluation half is written.
    assert read_json(final(run) / "state.json")["clock"]["steps"] == 8
    assert read_json(final(run) / "state.json")["evaluation_is_due"]
    assert not (run / "complete.json").exists()
    again = subprocess.run(
        [*asr_command(), *arguments, f"output={run}"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert (run / "complete.json").read_text() == (whole / "complete.json").read_text()
    assert without_wall_time(run) == without_wall_time(whole)
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == [
        p.name for p in sorted((whole / "checkpoints").iterdir())
    ]
    for name in ("student", "teacher", "optimizer"):
        file = f"{name}.safetensors"
        assert same_weights(final(run) / file, final(whole) / file)
    states = [read_json(final(one) / "state.json") for one in (run, whole)]
    for state in states:
        state.pop("identity")  # of other files: the recipes name other outputs
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("due", "ranks"),
    [
        ("checkpoint", 1),
        pytest.param("evaluation", 1, marks=pytest.mark.slow),
        pytest.param("evaluation", 2, marks=pytest.mark.slow),
    ],
)
def test_a_dev_file_that_is_gone_costs_no_hours(
    recipe: Path, corpus: Path, tmp_path: Path, due: str, ranks: int
) -> None:
    """It cost all since the last checkpoint; the file put back, the run goes on."""
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    shutil.copy(corpus / "labelled.jsonl.gz", data)
    write_folder(tmp_path / "in", 3, 7, transcribed=True)
    prepare = ["prepare", "folder", "--root", str(tmp_path / "in"), "--output", str(data)]
    assert main([*prepare, "--set-name", "dev"]) == 0
    gone = sorted((tmp_path / "in").glob("*.wav"))[0]
    gone.rename(tmp_path / "away")
    command = [*asr_command(ranks), "train", str(recipe), f"output={run}"]
    command += [f"corpus.directory={data}"]
    command += ["corpus.untranscribed=[]", "pseudo_label.start_hours=null"]
    other = "evaluation" if due == "checkpoint" else "checkpoint"
    command += [f"trainer.{other}_every_hours=10", f"trainer.{due}_every_hours=0.015"]
    command += ["trainer.total_hours=0.03"]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == (2 if ranks == 1 else 1), first.stderr  # 1: the launcher's own
    assert first.stderr.count(str(gone)) == 1
    assert ranks > 1 or "Traceback" not in first.stderr
    assert read_json(final(run) / "state.json")["clock"]["seconds"] / 3600 > 0.015
    (tmp_path / "away").rename(gone)
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert (run / "complete.json").is_file()
    assert read_json(final(run) / "state.json")["dev_wer"] is not None
    steps = [line["step"] for line in read_lines(run / "metrics.jsonl")]
    assert steps == sorted(steps)
