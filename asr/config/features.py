"""What a recipe's `features:` can say."""

from __future__ import annotations

from typing import Literal

from asr.config.fields import Bins, Milliseconds, Rate, Section


class FeatureConfig(Section):
    sample_rate_hz: Rate = 16_000
    """Rate to which preparation has resampled all audio."""
    window_ms: Milliseconds = 25.0
    """Length of the analysis window."""
    hop_ms: Milliseconds = 10.0
    """Distance between feature frames."""
    mel_bins: Bins = 80
    """Mel filters, F."""
    normalise: Literal["utterance", "none"] = "utterance"
    """Zero mean and unit variance of each mel bin over each utterance."""
    source: Literal["waveform", "precomputed"] = "waveform"
    """Compute on the training device, or read what `asr prepare features` stored."""
