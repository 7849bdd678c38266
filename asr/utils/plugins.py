"""What a user names on a command line or in a recipe: one of ours, or FILE.py:NAME of his own."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from asr.errors import UserError

T = TypeVar("T")


def find_class(where: str, name: str, ours: Mapping[str, type[T]], base: Any) -> type[T]:
    """The class that `name` means: one of ours, or of a file, which is run for it.

    `where` is the setting, for messages. Raises UserError where the file or the class is missing, is no
    `base`, or lacks a method of it.
    """
    if name in ours:
        return ours[name]
    file, _, class_name = name.rpartition(":")
    where = f"{where}: {name}"
    found = getattr(run_file(where, Path(file)), class_name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(
            f"{where}: {file} has no class '{class_name}' that derives from {public_name(base)}",
            "name one that does",
        )
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UserError(f"{where}: lacks {lacking}, which {base.__name__} wants of it", "write it")
    return found


def find_function(where: str, file: Path, name: str) -> Callable[..., Any]:
    """A function of a file, which is run for it. Raises UserError where it cannot be had."""
    found: Callable[..., Any] | None = getattr(run_file(where, file), name, None)
    if found is None or not callable(found):
        raise UserError(f"{where}: {file} has no function '{name}'", "name one that it has")
    return found


def run_file(where: str, file: Path) -> ModuleType:
    """A Python file as a module. Raises UserError where it is missing or fails."""
    if not file.is_file():
        raise UserError(
            f"{where}: no file {file}",
            "name a Python file; paths are relative to the working directory",
        )
    spec = importlib.util.spec_from_file_location(f"asr_plugin_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("asr.labels"):
            raise UserError(f"{where}: cannot be loaded: {error}", "install that") from error
        raise UserError(
            f"{where}: {error.name} has moved",
            "derive from asr.pseudo_labels.LabelDecoder, asr.pseudo_labels.Schedule or asr.teacher.Teacher "
            "(CHANGELOG.md)",
        ) from error
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{where}: cannot be loaded: {type(error).__name__}: {error}", "fix the file"
        ) from error
    return module


def public_name(base: type) -> str:
    """Where a base class may be imported from: the outermost package that offers it, else its module."""
    parts = base.__module__.split(".")
    packages = [".".join(parts[:count]) for count in range(1, len(parts))]
    offering = [p for p in packages if base.__name__ in getattr(sys.modules.get(p), "__all__", ())]
    return f"{offering[0] if offering else base.__module__}.{base.__name__}"
