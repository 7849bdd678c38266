"""Another rate, in bounded memory whatever the two rates are.

torchaudio holds a filter for each of target / gcd phases, of rate / gcd samples and some: gigabytes where the
rates share no divisor. soxr, a streaming resampler, interpolates between few phases, and has those.

Shape suffixes: N samples.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio.transforms import Resample

_MOST_COEFFICIENTS = 1 << 20
"""Of torchaudio's filters: 8 MB. 44.1 and 22.05 kHz have a tenth of it and less."""


def is_simple(rate_hz: int, target_hz: int) -> bool:
    """Whether torchaudio's filters are small: all usual rates."""
    divisor = math.gcd(rate_hz, target_hz)
    return (rate_hz // divisor + 16) * (target_hz // divisor) <= _MOST_COEFFICIENTS


def resample(audio_N: NDArray[np.float32], rate_hz: int, target_hz: int) -> NDArray[np.float32]:
    """A signal (N,) or signals (..., N), ceil(N target / rate) samples long."""
    if rate_hz == target_hz:
        return audio_N
    if is_simple(rate_hz, target_hz):
        plain_N: NDArray[np.float32] = _filters(rate_hz, target_hz)(
            torch.from_numpy(np.ascontiguousarray(audio_N))
        ).numpy()
        return plain_N
    import soxr

    count = -(-audio_N.shape[-1] * target_hz // rate_hz)
    made_N = np.zeros((*audio_N.shape[:-1], count), np.float32)
    for place in np.ndindex(audio_N.shape[:-1]):
        one_N = soxr.resample(audio_N[place], rate_hz, target_hz, quality="HQ")[:count]
        made_N[place][: len(one_N)] = one_N
    return made_N


@lru_cache(maxsize=8)
def _filters(rate_hz: int, target_hz: int) -> Resample:
    return Resample(rate_hz, target_hz)
