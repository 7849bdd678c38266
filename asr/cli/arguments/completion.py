"""`asr completion`: a script by which a shell completes commands, options and files."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import shtab

from asr.cli.arguments.common import make_parser

SHELLS = ("bash", "zsh", "tcsh")
_DESCRIPTION = """\
Print a script by which a shell completes `asr`'s commands, their options and files.

  asr completion bash > ~/.local/share/bash-completion/completions/asr
  asr completion zsh > ~/.zfunc/_asr           (with fpath=(~/.zfunc $fpath) before compinit in ~/.zshrc)
  asr completion tcsh > ~/.asr.csh             (with source ~/.asr.csh in ~/.tcshrc)
"""


def main(argv: list[str], commands: Mapping[str, tuple[str, str]]) -> int:
    """`asr completion`; `commands`: (module, what it does) of each, by name."""
    own = make_parser("completion", _DESCRIPTION)
    own.add_argument("shell", choices=SHELLS)
    arguments = own.parse_args(argv)
    print(shtab.complete(_whole(commands, {"completion": own}), arguments.shell))
    return 0


def _whole(
    commands: Mapping[str, tuple[str, str]], known: Mapping[str, argparse.ArgumentParser]
) -> argparse.ArgumentParser:
    """A parser of all commands."""
    root = argparse.ArgumentParser(prog="asr")
    root.add_argument(
        "--version", action="store_true", help="the version, and of a checkout the commit"
    )
    below = root.add_subparsers()
    for name, (module, summary) in commands.items():
        below.add_parser(name, help=summary)
        parser = known.get(name) or _parser_of(module)
        _complete_paths(parser)
        below.choices[name] = parser
    return root


class _ParserIsThere(Exception):  # noqa: N818 (no error)
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _parser_of(module: str) -> argparse.ArgumentParser:
    """What a command makes before it reads its arguments."""
    with _stopping_at_arguments():
        try:
            importlib.import_module(module).main([])
        except _ParserIsThere as found:
            return found.parser
    raise AssertionError(f"{module} parses no arguments")


@contextmanager
def _stopping_at_arguments() -> Iterator[None]:
    def stop(self: argparse.ArgumentParser, *given: Any, **named: Any) -> NoReturn:
        raise _ParserIsThere(self)

    names = ("parse_known_args", "parse_known_intermixed_args")
    before = {name: getattr(argparse.ArgumentParser, name) for name in names}
    for name in names:
        setattr(argparse.ArgumentParser, name, stop)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(argparse.ArgumentParser, name, method)


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Files and folders, for what is a path."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _complete_paths(below)
        elif action.type is Path or action.dest == "recipe":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
