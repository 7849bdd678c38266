"""Any audio file -> a waveform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from asr.errors import UserError


def read_audio(path: Path, sample_rate_hz: int) -> Tensor:
    """Waveform (N,) in fp32, mixed down to one channel and resampled.

    Raises UserError if the file is missing, empty, not audio, or holds NaN or infinite samples.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        audio_NC, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"Error opening {str(path)!r}: ")
        raise UserError(
            f"{path}: not readable as audio ({reason}); convert it to WAV or FLAC"
        ) from None
    audio_N = audio_NC.mean(axis=1)
    if not len(audio_N):
        raise UserError(f"{path}: holds no audio")
    if not np.isfinite(audio_N).all():
        raise UserError(f"{path}: holds NaN or infinite samples; record or export it again")
    waveform_N = torch.from_numpy(audio_N)
    return (
        waveform_N if rate_hz == sample_rate_hz else resample(waveform_N, rate_hz, sample_rate_hz)
    )
