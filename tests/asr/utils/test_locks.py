"""Locks: one process at a time, and the system ends them with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asr.utils.locks import locked

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
