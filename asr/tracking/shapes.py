"""What files of a run must hold for those who read them: what is of another kind is left out, and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeGuard

Shape: TypeAlias = "type[float] | type[str] | dict[str, Shape] | list[Shape]"
"""A number; a text; an object, of which the fields that are read are named; a list of things of one shape."""

_LARGEST = 1e300
_WORDS: dict[type, str] = {float: "a number", str: "a text", dict: "an object", list: "a list"}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a field is a finite number that can be computed with."""
    return isinstance(value, (int, float)) and -_LARGEST <= value <= _LARGEST


def fitting(value: Any, shape: Shape, note: Callable[[str], None], name: str = "") -> Any:
    """`value` without what does not fit `shape`; None where nothing of it does.

    Null fits each shape, and fields that the shape does not name stay as they are. An entry of a list stays if
    it has all that the shape names.

    Args:
        note: is called with a sentence about each part that is left out.
        name: of the value, dotted, for the sentences.
    """
    kind = shape if isinstance(shape, type) else type(shape)
    if value is None:
        return None
    if not _is_a(value, kind):
        note(f"{name or 'the content'} is {value!r:.60} and must be {_WORDS[kind]}; left out.")
        return None
    if isinstance(shape, dict):
        named = {key: one for key, one in shape.items() if key in value}
        parts = {
            key: fitting(value[key], one, note, f"{name}.{key}" if name else key)
            for key, one in named.items()
        }
        return {**value, **parts}
    if isinstance(shape, list):
        whole = [one for one in value if _is_whole(one, shape[0])]
        if len(whole) < len(value):
            note(f"{len(value) - len(whole)} of {name} are not what they must be; left out.")
        return whole
    return value


def _is_whole(value: Any, shape: Shape) -> bool:
    if isinstance(shape, dict):
        return isinstance(value, Mapping) and all(
            _is_whole(value.get(key), one) for key, one in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(_is_whole(one, shape[0]) for one in value)
    return _is_a(value, shape)


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:  # a run that diverged has logged infinities and NaN
        return isinstance(value, float) or is_number(value)
    return isinstance(value, Mapping if kind is dict else kind)
