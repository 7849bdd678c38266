"""Where long audio is cut: in its quietest stretch, of the later part of what fits.

Shape suffixes: N samples, W frames.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

_EARLIEST_SHARE = 0.5
"""A cut is in the last half of what fits."""


def frame_energies(audio_N: Tensor, frame: int) -> Tensor:
    """Mean squares (W,) of the whole frames of so many samples."""
    frames = len(audio_N) // frame
    return audio_N[: frames * frame].view(frames, frame).square().mean(dim=1)


def quietest_frame(energies_W: Tensor, width: int) -> int:
    """The middle of the quietest stretch of `width` frames, in the last half."""
    stretches = functional.avg_pool1d(energies_W[None, None], width, stride=1)[0, 0]
    first = int(_EARLIEST_SHARE * len(stretches))
    return first + int(stretches[first:].argmin()) + width // 2
