"""The roof imports only what a subcommand needs."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from asr.__main__ import main

SAYS_ITS_LIMIT = """
import resource, sys
from types import ModuleType
from asr import __main__ as program

module = sys.modules["ours"] = ModuleType("ours")
module.main = lambda argv: print(resource.getrlimit(resource.RLIMIT_NOFILE)) or 0
program.COMMANDS["ours"] = ("ours", "")
program.run()
"""


def test_a_shell_s_small_limit_of_open_files_is_no_limit() -> None:
    """A loader's worker ran into it, and the message said that memory ran out."""
    line = 'ulimit -S -n 64; ulimit -H -n 600; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", line, "-", sys.executable, "-c", SAYS_ITS_LIMIT, "ours"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(600, 600)\n"


def test_version_and_commit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    name, number, *_ = capsys.readouterr().out.split()
    assert (name, number) == ("asr-ema", metadata.version("asr-ema"))


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["report", "--help"]])
def test_help_and_plan_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from asr.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == 0
