"""Signals to a command, to a training, and to a training's whole job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import asr_command, final, read_lines

WAITS = """
import time

def main(argv):
    try:
        print("here", flush=True)
        for _ in range(round(20 * float(argv[0]))):
            time.sleep(0.05)  # a signal just before a sleep is heard only after it
    finally:
        print("put away")
    return 0
"""
PROGRAM = (
    "from asr import __main__ as program; program.COMMANDS['ours'] = ('ours', ''); program.run()"
)


def as_in_a_terminal() -> None:
    """Tests that run in the background, or under nohup, hand on that these are ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def waiting(
    folder: Path, *argv: str, before: Callable[[], object] = as_in_a_terminal
) -> subprocess.Popen[str]:
    """A command of this program that has begun, and waits."""
    (folder / "ours.py").write_text(WAITS, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "ours", *argv],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (signal.SIGINT, "asr ours: interrupted\n"),
        (signal.SIGTERM, "asr ours: ended by SIGTERM\n"),
        (signal.SIGHUP, "asr ours: ended by SIGHUP\n"),
    ],
)
def test_a_command_that_is_ended_puts_away_what_it_has(
    tmp_path: Path, number: signal.Signals, says: str
) -> None:
    process = waiting(tmp_path, "60")
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (128 + number, "put away\n", says)


def test_nohup_is_heeded(tmp_path: Path) -> None:
    ignores = waiting(tmp_path, "1", before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    ignores.send_signal(signal.SIGHUP)
    assert ignores.communicate(timeout=30) == ("put away\n", "")
    assert ignores.returncode == 0


LONG = ["trainer.total_hours=100", "trainer.checkpoint_every_hours=100"]
LONG += ["trainer.evaluation_every_hours=100", "pseudo_label.start_hours=null"]


def begun(command: Sequence[str], run: Path) -> subprocess.Popen[str]:
    """A training, in a session of its own, that has logged an update."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (run.parent / "output").open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
            env=environment,
            preexec_fn=as_in_a_terminal,
        )
    deadline = time.monotonic() + 240
    metrics = run / "metrics.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.is_file() and metrics.stat().st_size:
            return process
        time.sleep(0.05)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    raise AssertionError((run.parent / "output").read_text())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_all_of_a_job_s_processes_saves_the_run(
    recipe: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """A terminal that is closed, or Ctrl-C: the processes that read audio receive it, too."""
    run = tmp_path / "run"
    process = begun([*asr_command(), "train", str(recipe), f"output={run}", *LONG], run)
    os.killpg(process.pid, number)
    time.sleep(0.2)
    os.killpg(process.pid, number)  # launchers repeat what the terminal said
    try:
        assert process.wait(timeout=120) == 75
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    said = (tmp_path / "output").read_text()
    assert f"{number.name}: saving" in said
    assert "Traceback" not in said
    assert read_lines(run / "metrics.jsonl")
    assert (final(run) / "state.json").is_file()


def with_torchrun(run: Path, arguments: list[str]) -> subprocess.Popen[str]:
    return begun([*asr_command(2), *arguments], run)


def with_deepspeed(run: Path, arguments: list[str]) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = [str(Path(sys.executable).with_name("deepspeed")), "--num_gpus", "2"]
    return begun([*launcher, "--master_port", port, "--module", "asr", *arguments], run)


@pytest.mark.parametrize(
    "launched", [with_torchrun, pytest.param(with_deepspeed, marks=pytest.mark.slow)]
)
def test_a_launcher_s_sigterm_reaches_the_loaders_and_the_run_is_saved(
    recipe: Path, tmp_path: Path, launched: Callable[[Path, list[str]], subprocess.Popen[str]]
) -> None:
    """A loader's worker died of it, and the run with it, unsaved."""
    run = tmp_path / "run"
    workers = ["trainer.loader_workers=2", *LONG]
    process = launched(run, ["train", str(recipe), f"output={run}", *workers])
    family = psutil.Process(process.pid).children(recursive=True)
    for one in family:  # the launchers' own ways differ; a batch system tells everybody
        if "multiprocessing" not in " ".join(one.cmdline()):
            one.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    psutil.wait_procs(family, timeout=120)
    said = (tmp_path / "output").read_text()
    assert "DataLoader worker" not in said, said
    assert (final(run) / "state.json").is_file(), said
    assert not any(one.is_running() and one.status() != "zombie" for one in family)


LOSES_A_CHILD = '''
import signal
from asr.errors import UserError


class Lost(UserError):
    """A worker's end that is heard of while this is being said."""

    def __str__(self):
        signal.raise_signal(signal.SIGCHLD)
        return super().__str__()


def main(argv):
    def raise_again(number, frame):  # as torch's handler does
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    signal.signal(signal.SIGCHLD, raise_again)
    raise Lost("a process that reads audio was killed", "free memory")
'''


def test_news_of_a_worker_s_end_does_not_spoil_what_is_said_of_it(tmp_path: Path) -> None:
    """Now and then a lost worker ended a training with its line, then a traceback and status 1."""
    (tmp_path / "ours.py").write_text(LOSES_A_CHILD, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "ours"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "asr ours: a process that reads audio was killed; free memory\n"
    assert done.returncode == 2
