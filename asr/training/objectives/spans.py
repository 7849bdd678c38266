"""Which frames are masked: spans that belong to the utterance and its pass, whatever batch or rank it falls to.

Shape suffixes: B utterances, S encoder frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.config.objective import LatentConfig
from asr.model.encoders.encoder import Encoder
from asr.model.features import FrontEnd
from asr.utils.seeds import SeedTag, generator

Place = tuple[int, ...]
"""A run's seed, and the place of an utterance in it."""


def span_mask(
    frames: int, policy: LatentConfig, frame_ms: float, place: Place
) -> NDArray[np.bool_]:
    """(S,) of an utterance: spans begin anywhere and may overlap (wav2vec 2.0, arXiv 2006.11477, section 3.1).

    At least one, and none longer than half of the utterance: something is to be told, by something else.
    """
    mask = np.zeros(frames, np.bool_)
    if not frames:
        return mask
    width = max(1, min(round(policy.mask_ms / frame_ms), frames // 2))
    seed, *others = place
    random = generator(seed, SeedTag.SPANS, *others)
    begins = frames - width + 1
    count = int(policy.mask_share * frames / width + random.random())
    first = random.choice(begins, max(1, min(count, begins - 1)), replace=False)
    mask[first[:, None] + np.arange(width)] = True
    return mask


def span_masks(
    frames: Sequence[int], policy: LatentConfig, frame_ms: float, places: Sequence[Place]
) -> Tensor:
    """(B, S) booleans on the host; S is the longest's."""
    masks_BS = torch.zeros(len(frames), max(frames, default=0), dtype=torch.bool)
    for own_S, count, place in zip(masks_BS, frames, places, strict=True):
        own_S[:count] = torch.from_numpy(span_mask(count, policy, frame_ms, place))
    return masks_BS


def frame_ms(front_end: FrontEnd, encoder: Encoder) -> float:
    """Of an encoder's frame."""
    return 1000.0 * front_end.hop_samples * encoder.stride / front_end.sample_rate_hz
