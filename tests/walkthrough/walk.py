"""The tutorial, block by block, as it stands: what a new user types is what runs.

    .venv/bin/python tests/walkthrough/walk.py docs/tutorial.md FOLDER

FOLDER holds what the tutorial begins with. A block of YAML becomes the file that its first line names, a
block of sh is run there line by line until one fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps_of(page: str) -> Iterator[tuple[str, str]]:
    """A file's name and its content, or `sh` and a command."""
    for kind, text in _BLOCK.findall(page):
        if kind == "yaml":
            name = text.splitlines()[0].removeprefix("#").strip()
            yield name, text
        else:
            for line in text.splitlines():
                yield "sh", line


def walk(page: Path, folder: Path) -> dict[str, str]:
    """Take every step in `folder`. Returns what each command printed; raises RuntimeError where one fails."""
    printed = {}
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    for name, text in steps_of(page.read_text(encoding="utf-8")):
        if name != "sh":
            (folder / name).write_text(text, encoding="utf-8")
            continue
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True
        )
        print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)
        if done.returncode:
            raise RuntimeError(f"{text}: status {done.returncode}\n{done.stdout}{done.stderr}")
        printed[text] = done.stdout
    return printed


if __name__ == "__main__":
    for shown in walk(Path(sys.argv[1]), Path(sys.argv[2])).values():
        print(shown)
