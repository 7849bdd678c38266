"""What an encoder says on the way: of each layer, and at last, of a network that notes it, itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_outputs: ContextVar[deque[Tensor] | None] = ContextVar("outputs", default=None)


@contextmanager
def outputs_into(found: deque[Tensor]) -> Iterator[None]:
    """In forward passes inside of it each output (B, S, D) that is noted is added to `found`, in order."""
    token = _outputs.set(found)
    try:
        yield
    finally:
        _outputs.reset(token)


def note_output(hidden_BSD: Tensor) -> Tensor:
    """A layer's or an encoder's output, as it is."""
    found = _outputs.get()
    if found is not None:
        found.append(hidden_BSD)
    return hidden_BSD
