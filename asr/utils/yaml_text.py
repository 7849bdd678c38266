"""YAML that may come from a stranger."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_VALUES = 100_000
"""Of a file, each alias counted as all that it stands for."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's takes a tenth of the time


def load_yaml(text: str) -> Any:
    """What a text says, with safe types alone.

    Raises yaml.YAMLError, also for one that is too much: aliases of aliases make gigabytes of a few lines.
    """
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _values(node, {})
        return loader.construct_document(node)
    except (RecursionError, ValueError) as error:  # brackets in brackets, a date of month 13
        raise yaml.YAMLError(f"cannot be read: {error}") from None
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds. Raises yaml.YAMLError where they are too many, or it holds itself."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: holds itself")
        return known[id(node)]
    known[id(node)] = 0
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    children = (child for part in parts for child in (part if isinstance(part, tuple) else (part,)))
    count = 1 + sum(_values(child, known) for child in children)
    if count > _MOST_VALUES:
        line = node.start_mark.line + 1
        raise yaml.YAMLError(
            f"line {line}: more than {_MOST_VALUES:,} values, by aliases of aliases"
        )
    known[id(node)] = count
    return count
