"""Locks: one process at a time, and the system ends them with it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from asr.errors import UserError
from asr.utils.locks import is_held, locked

HOLD = (
    "import sys; from pathlib import Path; from asr.utils.locks import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize("name", ["", "lock"])
def test_who_does_not_wait_is_told_who_is_busy(tmp_path: Path, name: str) -> None:
    """A folder that is there, or a file that is made."""
    path = tmp_path / name
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError, match="busy"), locked(path, BlockingIOError("busy")):
        pass
    holder.kill()
    holder.communicate()
    with locked(path, BlockingIOError("busy")):
        pass


BUSY = UserError("exp/run: another process is training there", "wait for it")


def test_who_is_busy_is_said(tmp_path: Path) -> None:
    """Of any lock here; of a signed one on another host, too, where the kernel does not know."""
    for path, signed in ((tmp_path, False), (tmp_path / ".lock", True)):
        with locked(path, signed=signed), pytest.raises(UserError) as raised, locked(path, BUSY):
            pass
        assert f"training there (pid {os.getpid()} on {os.uname().nodename}, since 2" in str(
            raised.value
        )
        assert str(raised.value).endswith("; wait for it")
    assert (tmp_path / ".lock").read_text().startswith(f"pid {os.getpid()} on ")


def test_a_forked_worker_does_not_hold_its_parent_s_lock(tmp_path: Path) -> None:
    """A loader's worker that outlived a killed run held it for seconds."""
    lock = tmp_path / ".lock"
    reading, writing = os.pipe()
    seen, ready = os.pipe()
    with locked(lock, signed=True):
        worker = os.fork()
        if worker == 0:
            os.close(writing)
            os.write(ready, b"x")
            os.read(reading, 1)
            os._exit(0)
        os.read(seen, 1)  # the worker has begun
        with pytest.raises(BlockingIOError), locked(lock, BlockingIOError()):
            pass
    try:
        assert not is_held(lock)
    finally:
        os.close(writing)
        os.waitpid(worker, 0)


def test_a_process_ends_with_its_parent() -> None:
    child = "import time; time.sleep(60)"
    parent = (
        "import subprocess, sys, time, signal; from functools import partial\n"
        "from asr.utils.signals import end_with_parent\n"
        f"child = subprocess.Popen([sys.executable, '-c', '{child}'],"
        " preexec_fn=partial(end_with_parent, signal.SIGTERM))\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    orphan = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate()
    with suppress(psutil.NoSuchProcess):
        orphan.wait(20)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
