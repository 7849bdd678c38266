"""`asr recipes`: those that come with the package, for whoever has no clone of it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from asr.cli.arguments.common import make_parser
from asr.config.shelf import copy_recipe, recipes_on_the_shelf

_DESCRIPTION = """\
The recipes that come with asr, and copies of them to run and to edit.

  asr recipes list
  asr recipes copy festvox_ru             # recipes/festvox_ru and tools/, here
  asr recipes copy festvox_ru somewhere   # the same below somewhere/
"""
_COPY_DESCRIPTION = """\
Copy a recipe into TARGET/recipes/NAME, the recipes that it builds on beside it, and the scripts that it
calls into TARGET/tools. Nothing that is there and differs is overwritten.
"""


def main(argv: list[str]) -> int:
    """`asr recipes list | copy`."""
    arguments = _parser().parse_args(argv)
    if arguments.action == "list":
        names = recipes_on_the_shelf()
        width = max(map(len, names))
        for name, what in names.items():
            print(f"{name:<{width}}  {what}")
        return 0
    written = copy_recipe(arguments.name, arguments.target)
    folder = arguments.target / "recipes" / arguments.name
    print(f"{folder}: {len(written)} files copied")
    if (folder / "run.sh").exists():
        print(f"run it: {_environment()}bash {shlex.quote(str(folder / 'run.sh'))}")
    print(f"read about it: {folder / 'README.md'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("recipes", _DESCRIPTION)
    actions = parser.add_subparsers(dest="action", metavar="list | copy", required=True)
    actions.add_parser("list", help="the recipes, a line each")
    copy = actions.add_parser("copy", help="copy one", description=_COPY_DESCRIPTION)
    copy.add_argument("name", metavar="NAME", help="as `asr recipes list` has it")
    copy.add_argument(
        "target", type=Path, nargs="?", default=Path(), metavar="TARGET", help="folder (here)"
    )
    return parser


def _environment() -> str:
    """What the script needs to find this environment, where it is not the active one."""
    active = shutil.which("python3")
    if active and os.path.realpath(Path(active).parent) == os.path.realpath(
        Path(sys.executable).parent
    ):
        return ""
    return f"PYTHON={shlex.quote(sys.executable)} "
