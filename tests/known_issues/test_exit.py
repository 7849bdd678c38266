"""The end of a process that was in a process group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LEAVES_A_THREAD = '''
import atexit, sys, threading, time
from datetime import timedelta

import asr.distributed.process_group
from torch.distributed import HashStore


class SlowEnd:
    """Keeps the interpreter's teardown going until the thread wants its lock back."""

    def __del__(self, sleep=time.sleep):
        sleep(2)


def main(argv):
    atexit.register(print, "at exit")
    sys.slow_end = SlowEnd()
    wait = HashStore().wait
    threading.Thread(target=wait, args=(["never"], timedelta(seconds=1)), daemon=True).start()
    print("done", end=", ")
    return int(argv[0])
'''


def test_a_thread_of_torch_s_does_not_abort_a_process_that_is_done(tmp_path: Path) -> None:
    """Now and then a rank ended with SIGABRT after its last checkpoint, and the launcher with it."""
    (tmp_path / "ours.py").write_text(LEAVES_A_THREAD, encoding="utf-8")
    program = "from asr import __main__ as program; program.COMMANDS['ours'] = ('ours', ''); program.run()"
    done = subprocess.run(
        [sys.executable, "-c", program, "ours", "2"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "done, at exit\n"), done.stderr
