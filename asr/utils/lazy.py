"""Names that a package offers from its modules, imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # `typing` itself takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def offer(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package that offers each name of `modules` from its module."""

    def look_up(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return look_up
