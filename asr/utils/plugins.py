"""A mechanism by the name that a recipe gives it: one of ours, or FILE.py:CLASS of the user's own."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from asr.errors import UserError

T = TypeVar("T")


def find_method(field: str, name: str, ours: Mapping[str, type[T]], base: Any) -> type[T]:
    """The class that `pseudo_label.FIELD: NAME` means.

    A file of the user's is run, by training and by `asr check`, and only where the recipe names it. Raises
    UserError where the file or the class is missing, is no `base`, or lacks a method of it.
    """
    if name in ours:
        return ours[name]
    file, _, class_name = name.rpartition(":")
    where = f"pseudo_label.{field}: {name}"
    if not Path(file).is_file():
        raise UserError(f"{where}: no file {file}; paths are relative to the working directory")
    spec = importlib.util.spec_from_file_location(f"asr_method_{Path(file).stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{where}: cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(
            f"{where}: {file} has no class '{class_name}' that derives from {base.__module__}."
            f"{base.__name__}"
        )
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UserError(f"{where}: lacks {lacking}, which {base.__name__} wants of it; write it")
    return found
