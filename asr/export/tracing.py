"""What exporters are told of the sizes of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def free_axes(arguments: Sequence[Tensor]) -> tuple[dict[int, Any], ...]:
    """That the first two axes of each are of any size."""
    any_size = torch.export.Dim.DYNAMIC
    return tuple(dict.fromkeys(range(min(2, one.dim())), any_size) for one in arguments)
