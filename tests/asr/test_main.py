"""The roof imports only what a subcommand needs."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from asr.__main__ import main


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
