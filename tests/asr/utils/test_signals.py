"""Signals that a training notes, and what its worker processes make of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from asr.utils.signals import StopRequest, begin_worker


@pytest.mark.parametrize(("number", "noted"), [(signal.SIGINT, signal.SIGINT), (signal.SIGHUP, 0)])
def test_ctrl_c_is_heard_in_a_script_s_background_and_nohup_is_heeded(
    number: signal.Signals, noted: int
) -> None:
    """A shell lets what it runs in the background ignore Ctrl-C."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        stop = StopRequest()
        with stop.heard(says=False):
            os.kill(os.getpid(), number)
        assert stop.number == noted
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def _work() -> None:
    begin_worker()
    time.sleep(60)


def test_a_worker_ends_by_its_parent_s_word_alone() -> None:
    worker = multiprocessing.get_context("fork").Process(target=_work, daemon=True)
    worker.start()
    assert worker.pid is not None
    time.sleep(0.5)
    stranger = os.fork()
    if not stranger:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(worker.pid, number)
        os._exit(0)
    os.waitpid(stranger, 0)
    worker.join(0.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
