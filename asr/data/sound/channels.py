"""What speech has come through: a band, a codec. Neither changes its length, nor shifts it.

Shape suffixes: N samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lhotse.augmentation import Compress, Narrowband
from lhotse.augmentation.compress import MP3_SUPPORTED_SAMPLING_RATES, OPUS_SUPPORTED_SAMPLING_RATES
from numpy.typing import NDArray
from torchaudio.functional import highpass_biquad, lowpass_biquad

from asr.data.sound.resampling import resample
from asr.errors import UserError

Audio = NDArray[np.float32]
_TELEPHONE_HZ = 8_000
_RATES_HZ = {"mp3": MP3_SUPPORTED_SAMPLING_RATES, "opus": OPUS_SUPPORTED_SAMPLING_RATES}


def band_passed(audio_N: Audio, rate_hz: int, low_hz: float, high_hz: float) -> Audio:
    """Without what is below and above a band: Butterworth filters, 12 dB an octave."""

    def passed(audio_1N: Audio) -> Audio:
        above = highpass_biquad(torch.from_numpy(audio_1N), rate_hz, low_hz)
        within_1N: Audio = lowpass_biquad(above, rate_hz, high_hz).numpy()
        return within_1N

    return _in_full_scale(passed, audio_N)


def coded(audio_N: Audio, rate_hz: int, kind: str, compression: float) -> Audio:
    """Through a codec and back; `compression` from 0 to 1, of mp3, vorbis and opus."""

    def through(audio_1N: Audio) -> Audio:
        if kind == "mu_law":
            return np.asarray(Narrowband("mulaw", rate_hz, restore_orig_sr=True)(audio_1N, rate_hz))
        if kind != "gsm":
            return np.asarray(Compress(kind, compression)(audio_1N, rate_hz))
        narrow_1N = resample(audio_1N, rate_hz, _TELEPHONE_HZ)
        narrow_1N = Compress("gsm", compression)(narrow_1N, _TELEPHONE_HZ)
        return resample(np.asarray(narrow_1N), _TELEPHONE_HZ, rate_hz)

    return _in_full_scale(through, audio_N)


def check_codec_rate(kind: str, rate_hz: int) -> None:
    """Raises UserError for a codec that does not take audio of this rate."""
    rates = _RATES_HZ.get(kind)
    if rates is not None and rate_hz not in rates:
        raise UserError(
            f"augmentation.codec.kinds: {kind} takes no audio of features.sample_rate_hz {rate_hz}",
            f"leave it out; it takes {', '.join(map(str, rates))}",
        )


def _in_full_scale(change: Callable[[Audio], Audio], audio_N: Audio) -> Audio:
    """Of audio (1, N) that keeps from -1 to 1, at which filters and codecs clip."""
    peak = max(1.0, float(np.abs(audio_N).max(initial=0.0)))
    changed_N = change(np.ascontiguousarray(audio_N[None] / peak, dtype=np.float32))[0] * peak
    # A codec works in frames: there may be some more.
    short = max(0, len(audio_N) - len(changed_N))
    return np.pad(changed_N[: len(audio_N)], (0, short)).astype(np.float32)
