"""Ranks that do not come, and ranks that fail while others wait for them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

RANK = """
import os, signal, sys

from asr.errors import UserError


def main(argv):
    from asr.distributed import meeting
    import torch.distributed

    meeting.meet("gloo")
    if argv[0] == "together":
        raise UserError("no such corpus", "see")
    if os.environ["RANK"] == "1":
        if argv[0] == "fault":
            raise UserError("this disk is full", "free it")
        if argv[0] == "bug":
            raise AssertionError("ours")
        if argv[0] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()
    return 0
"""
PROGRAM = (
    "from asr import __main__ as program; program.COMMANDS['ours'] = ('ours', ''); program.run()"
)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start(folder: Path, how: str, rank: int, port: str, **more: str) -> subprocess.Popen[str]:
    (folder / "ours.py").write_text(RANK, encoding="utf-8")
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "ours", how],
        env={**os.environ, "PYTHONPATH": str(folder), **place, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(text: str) -> list[str]:
    """Ours; torch's own warnings begin with a bracket."""
    return [line for line in text.splitlines() if line.startswith("asr")]


@pytest.mark.parametrize(
    ("how", "statuses", "says"),
    [
        ("fault", (2, 2), "this disk is full"),
        ("bug", (2, 1), "a bug of ours"),
        ("killed", (2, -9), "has lost another rank"),
    ],
)
def test_a_rank_that_fails_takes_the_others_with_it(
    tmp_path: Path, how: str, statuses: tuple[int, int], says: str
) -> None:
    """They waited for it in a collective: half an hour, or for ever."""
    port = free_port()
    ranks = [start(tmp_path, how, rank, port) for rank in (0, 1)]
    texts = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert tuple(rank.returncode for rank in ranks) == statuses, texts
    [line] = lines(texts[0])
    assert says in line
    assert "Traceback" not in texts[0]
    if how == "fault":
        host = socket.gethostname()
        assert lines(texts[1]) == [f"asr ours: rank 1 on {host}: this disk is full; free it"]


SCRIPT = """
import os, sys, time

import asr
from asr.training.train_step import TrainStep

accumulate = TrainStep.accumulate

def fails(self, *arguments):
    if os.environ["RANK"] == "1":
        raise ValueError("this rank's own")
    return accumulate(self, *arguments)

TrainStep.accumulate = fails
config = asr.load_config(sys.argv[1], [f"output={sys.argv[2]}", *sys.argv[3:]])
try:
    asr.train(config)
except asr.UserError as error:
    print("all ranks:", error, flush=True)
    time.sleep(2 * int(os.environ["RANK"] == "0"))
    print("goes on", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["seed=1", "corpus.labelled=[nowhere]"])
def test_a_script_s_rank_that_fails_takes_the_others_with_it(
    recipe: Path, tmp_path: Path, setting: str
) -> None:
    """`asr.train` of Python: nobody told them. What all ranks raise each may catch, and go on."""
    script, port = tmp_path / "script.py", free_port()
    script.write_text(SCRIPT, encoding="utf-8")
    place = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(recipe), str(tmp_path / "run"), setting],
            env={**place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    texts = [rank.communicate(timeout=120) for rank in ranks]
    statuses = [rank.returncode for rank in ranks]
    if setting == "seed=1":
        assert statuses == [2, 1], texts
        assert "rank 1 on" in texts[0][1]
        assert "has ended: ValueError: this rank's own" in texts[0][1]
    else:
        assert statuses == [0, 0], texts
        assert all(out.endswith("goes on\n") for out, _ in texts)


def test_what_all_ranks_say_is_said_once(tmp_path: Path) -> None:
    port = free_port()
    ranks = [start(tmp_path, "together", rank, port) for rank in (0, 1)]
    said = "".join(rank.communicate(timeout=120)[1] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [2, 2]
    assert said.count("asr ours: ") == 1


@pytest.mark.parametrize(
    ("rank", "says"),
    [(0, "rank 0 of 2 did not find the others"), (1, "rank 1 of 2 did not find the others")],
)
def test_ranks_that_do_not_come_are_not_waited_for_without_end(
    tmp_path: Path, rank: int, says: str
) -> None:
    began = time.monotonic()
    alone = start(tmp_path, "alone", rank, free_port(), ASR_WAIT_FOR_RANKS_SECONDS="2")
    _, errors = alone.communicate(timeout=120)
    assert alone.returncode == 2
    assert says in errors
    assert "Traceback" not in errors
    assert time.monotonic() - began < 60


def test_the_rank_that_has_not_come_is_named(tmp_path: Path) -> None:
    """Where a launcher's agent keeps the store, each rank sees who is there."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    agent = {"TORCHELASTIC_USE_AGENT_STORE": "True", "ASR_WAIT_FOR_RANKS_SECONDS": "2"}
    alone = start(tmp_path, "alone", 0, str(store.port), **agent)
    _, errors = alone.communicate(timeout=120)
    assert alone.returncode == 2
    assert "for rank 1; start all of them" in errors
