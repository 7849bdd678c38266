"""Machines that lack what libraries take for granted."""

from __future__ import annotations

import subprocess
import sys

NO_HOME = """
import os, pwd
del os.environ["HOME"]
def nobody(number): raise KeyError(number)
pwd.getpwuid = nobody
import asr.data.dataset, asr.planning.checks.corpora
"""


def test_without_a_home_folder_libraries_load() -> None:
    """As in a container that runs as a user of no name: lhotse ended in a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
