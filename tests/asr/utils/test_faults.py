"""What the machine did, in one line."""

from __future__ import annotations

import errno
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from asr.utils.faults import first_line, of_the_machine

KILLED = "DataLoader worker (pid 77) is killed by signal: "


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BrokenProcessPool("a child process terminated"), "fewer --jobs"),
        (RuntimeError(f"{KILLED}Killed. "), "killed (pid 77), most likely since memory ran out"),
        (RuntimeError(f"{KILLED}Bus error. "), "/dev/shm is full"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "(pid 7, 8)"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "the GPU's memory"),
        (MemoryError(), "this machine's memory ran out"),
        (OSError(errno.EMFILE, "Too many open files", "a.wav"), "'a.wav'); allow more (ulimit -n"),
        (RuntimeError("unable to open shared memory: Too many open files (24)"), "ulimit -n"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"
            ),
            "this machine's memory ran out",
        ),
    ],
)
def test_a_fault_of_the_machine_is_said(error: Exception, says: str) -> None:
    known = of_the_machine(error)
    assert known is not None
    assert says in str(known)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("no"), KeyError("x")])
def test_a_bug_stays_one(error: Exception) -> None:
    assert of_the_machine(error) is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("too long\nat line 3"), "too long"),
        (ValueError("\n\nsaid late"), "said late"),
        (ValueError(), "ValueError"),
        (RuntimeError(" \n"), "RuntimeError"),
    ],
)
def test_an_error_is_said_in_a_line_even_without_a_message(error: Exception, says: str) -> None:
    assert first_line(error) == says
