"""What every node of the config tree is made of."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
_MOST = 1e15
"""Of hours it is the age of the universe ten times over; much more is infinite in seconds."""
Positive = Annotated[float, Field(gt=0, le=_MOST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Layers = Annotated[int, Field(ge=1, le=1_000)]
"""More of them than any model has would be built for hours before memory is lacking."""
Width = Annotated[int, Field(ge=1, le=65_536)]
Natural = Annotated[int, Field(ge=0)]
Stride = Annotated[int, Field(ge=1, le=1_000)]
Kernel = Annotated[int, Field(ge=0, le=65_536)]
Rate = Annotated[int, Field(ge=1_000, le=192_000)]
"""Samples a second: 16 is meant in kHz, and a folder of others may ask for what no memory holds."""
Milliseconds = Annotated[float, Field(ge=1, le=1_000)]
Bins = Annotated[int, Field(ge=1, le=1_024)]


class Section(BaseModel):
    """A node of the tree: strict, and immutable once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )


def check_schedule(hours: list[float], what: str) -> None:
    """Raises ValueError unless a schedule over hours of audio begins at 0 and ascends."""
    if hours[0] != 0 or any(a >= b for a, b in itertools.pairwise(hours)):
        raise ValueError(
            f"the hours {hours} of {what} must begin at 0 and ascend, as in [[0, 30], [10, 120]]"
        )


def total_hours_or_passes(tree: Any) -> Any:
    """What a recipe says of the end of training. Raises ValueError where it says both."""
    if not isinstance(tree, dict) or tree.get("total_passes") is None:
        return tree
    if tree.get("total_hours") is not None:
        raise ValueError(
            f"total_hours {tree['total_hours']} and total_passes {tree['total_passes']} both say when training "
            "ends: give one of them, and null for the other"
        )
    return {name: value for name, value in tree.items() if name != "total_hours"}
