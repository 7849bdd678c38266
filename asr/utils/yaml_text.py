"""YAML in which everything is what it looks like.

YAML 1.1 takes the last of two equal keys, 1:30 for 90 and 010 for 8; and a few lines whose aliases name each
other stand for more than any memory holds. All of that is refused, with its line.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, a tenth of the time
_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$")
_OCTAL = re.compile(r"[-+]?0[0-9_]+$")
_MOST_NODES = 100_000
"""Of a document, aliases written out: recipes have hundreds."""


def parse_yaml(text: str) -> Any:
    """The document as plain Python values. Raises yaml.YAMLError, whose message names the line."""
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, {}, ())
        return loader.construct_document(node)
    except (
        ValueError,
        RecursionError,
        OverflowError,
    ) as error:  # of a value, e.g. the 30th of February
        raise yaml.YAMLError(str(error) or "nested too deeply") from None
    finally:
        loader.dispose()


def _check(node: yaml.Node, sizes: dict[int, int], above: tuple[int, ...]) -> int:
    """How many nodes a node stands for."""
    if id(node) in sizes:
        return sizes[id(node)]
    if id(node) in above:
        raise _fault(node, "it holds itself", "write it out")
    below = (*above, id(node))
    size = 1
    if isinstance(node, yaml.ScalarNode):
        _check_number(node)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check(one, sizes, below) for one in node.value)
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node)
        size += sum(_check(one, sizes, below) for pair in node.value for one in pair)
    if size > _MOST_NODES:
        raise _fault(node, f"with its aliases it has more than {_MOST_NODES} values", "write less")
    sizes[id(node)] = size
    return size


def _check_keys(node: yaml.MappingNode) -> None:
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in first:
            line = first[key.value].start_mark.line + 1
            raise _fault(key, f"'{key.value}' stands in line {line} already", "join the two")
        first[key.value] = key


def _check_number(node: yaml.ScalarNode) -> None:
    if node.tag not in (_INTEGER, _FLOAT):
        return
    if _SEXAGESIMAL.match(node.value):
        what = f"{node.value} is a number of base 60 to YAML"
    elif node.tag == _INTEGER and _OCTAL.match(node.value):
        what = f"{node.value} is an octal number to YAML"
    else:
        return
    raise _fault(node, what, f"write it as a plain number, or '{node.value}' in quotes as a text")


def _fault(node: yaml.Node, what: str, remedy: str) -> yaml.YAMLError:
    return yaml.YAMLError(f"line {node.start_mark.line + 1}: {what}; {remedy}")
