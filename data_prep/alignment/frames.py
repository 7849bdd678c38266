"""A recording of any length -> log-posteriors a frame, in windows; on the disk, since hours of them are long.

Shape suffixes: N samples, S encoder frames, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.data.audio import AudioFile, stream_audio
from asr.errors import UserError

from .alphabet import Alphabet

_LONGEST_SECONDS = 24.0
_CONTEXT_SECONDS = 2.0
"""On both sides of what is kept of a window."""


@dataclass(frozen=True)
class Frames:
    """Of a recording."""

    log_posteriors_SK: NDArray[np.float16]
    """Natural logarithms; class 0 is silent."""
    frame_seconds: float


def read_frames(
    path: Path, alphabet: Alphabet, folder: Path, told: Callable[[float], None]
) -> Frames:
    """By the model, in the memory of a window; `folder` gets a file that is gone when the frames are.

    Raises UserError for audio that cannot be read, and for a model that writes no numbers.
    """
    reader = alphabet.reader
    blocks = stream_audio(AudioFile.named(path), reader.sample_rate_hz)
    frames = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for logits_SV, seconds in _windows(blocks, alphabet):
            if not bool(torch.isfinite(logits_SV).all()):
                raise UserError(
                    f"{path}: the model writes NaN or infinity here", "take another model"
                )
            file.write(alphabet.folded(logits_SV).half().numpy().tobytes())
            frames += len(logits_SV)
            told(seconds)
        file.flush()
        shape = (frames, len(alphabet.letters))
        kept = (
            np.memmap(file, np.float16, "r", shape=shape) if frames else np.zeros(shape, np.float16)
        )
    return Frames(kept, reader.frame_samples / reader.sample_rate_hz)


def _windows(blocks: Iterable[Tensor], alphabet: Alphabet) -> Iterator[tuple[Tensor, float]]:
    """Logits (S, V) that follow each other, and the seconds that they are of."""
    reader = alphabet.reader
    frame, rate_hz = reader.frame_samples, reader.sample_rate_hz
    longest = int(min(reader.longest_seconds, _LONGEST_SECONDS) * rate_hz / frame)
    context = min(int(_CONTEXT_SECONDS * rate_hz / frame), longest // 5)
    step = longest - 2 * context
    pending_N, before = torch.zeros(0), 0
    for block_N in blocks:
        pending_N = torch.cat([pending_N, block_N])
        while len(pending_N) >= (before + step + 2 * context) * frame:
            logits_SV = reader.logits(pending_N[: (before + step + context) * frame])
            yield _whole(logits_SV[before:], step), step * frame / rate_hz
            pending_N = pending_N[(before + step - context) * frame :]
            before = context
    left = len(pending_N) // frame - before
    if left > 0:
        logits_SV = reader.logits(pending_N)
        yield _whole(logits_SV[before:], left), left * frame / rate_hz


def _whole(logits_SV: Tensor, frames: int) -> Tensor:
    """So many frames: models that do not fill their last ones say nothing in them."""
    lacking = frames - len(logits_SV)
    if lacking <= 0:
        return logits_SV[:frames]
    silent_SV = torch.full((lacking, logits_SV.shape[1]), -30.0, device=logits_SV.device)
    silent_SV[:, 0] = 0.0
    return torch.cat([logits_SV, silent_SV])
