"""Waveform -> normalised log-mel features, and SpecAugment.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.

Everything here is computed per utterance and masked, so that an utterance's features do not depend
on the utterances it is batched with.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from asr.config import FeatureConfig, SpecAugmentConfig

_LOG_FLOOR = 1e-6
_STD_FLOOR = 1e-3


def frame_mask(lengths_B: Tensor, frames: int) -> Tensor:
    """Boolean mask of the valid positions, shape (B, frames)."""
    return torch.arange(frames, device=lengths_B.device)[None, :] < lengths_B[:, None]


class LogMel(nn.Module):
    """Log-mel filter bank, normalised per utterance and mel bin to zero mean and unit variance.

    Frames are not padded or centred. The window stands in the middle of an FFT of the next power of
    two (25 ms: 400 samples in 512), so the number of frames is 1 + (samples - fft) // hop and depends
    on the utterance alone.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.window_samples = round(config.window_ms * config.sample_rate_hz / 1000)
        self.hop_samples = round(config.hop_ms * config.sample_rate_hz / 1000)
        self.normalise = config.normalise == "utterance"
        self.mel = MelSpectrogram(
            sample_rate=config.sample_rate_hz,
            n_fft=1 << (self.window_samples - 1).bit_length(),
            win_length=self.window_samples,
            hop_length=self.hop_samples,
            f_min=20.0,
            n_mels=config.mel_bins,
            center=False,
        )

    def frames(self, samples_B: Tensor) -> Tensor:
        """Number of feature frames (B,) of utterances with `samples_B` samples."""
        return (1 + (samples_B - self.mel.n_fft) // self.hop_samples).clamp(min=0)

    @torch.no_grad()
    def forward(self, waveforms_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) in fp32, zero where padded, and their lengths (B,) in frames."""
        shortfall = self.mel.n_fft - waveforms_BN.shape[1]
        if shortfall > 0:
            waveforms_BN = nn.functional.pad(waveforms_BN, (0, shortfall))
        features_BTF = self.mel(waveforms_BN.float()).clamp(min=_LOG_FLOOR).log().transpose(1, 2)
        lengths_B = self.frames(samples_B)
        mask_BT1 = frame_mask(lengths_B, features_BTF.shape[1])[:, :, None]
        if self.normalise:
            features_BTF = _normalise(features_BTF, mask_BT1, lengths_B)
        return features_BTF.masked_fill(~mask_BT1, 0.0), lengths_B


def _normalise(features_BTF: Tensor, mask_BT1: Tensor, lengths_B: Tensor) -> Tensor:
    count_B11 = lengths_B.clamp(min=1)[:, None, None].float()
    mean_B1F = features_BTF.masked_fill(~mask_BT1, 0.0).sum(1, keepdim=True) / count_B11
    centred_BTF = (features_BTF - mean_B1F).masked_fill(~mask_BT1, 0.0)
    std_B1F = (centred_BTF.square().sum(1, keepdim=True) / count_B11).sqrt()
    return centred_BTF / std_B1F.clamp(min=_STD_FLOOR)


def spec_augment(
    features_BTF: Tensor, lengths_B: Tensor, config: SpecAugmentConfig, seeds: list[tuple[int, ...]]
) -> Tensor:
    """SpecAugment (Park et al. 2019) with slimIPL's policy (arXiv 2010.11524): masks set to 0.

    Each utterance draws from a generator seeded by its own entry of `seeds` (length B), so the masks
    are the same however the utterances are batched or spread over ranks.
    """
    masked_BTF = features_BTF.clone()
    mel_bins = features_BTF.shape[2]
    for index, (frames, seed) in enumerate(zip(lengths_B.tolist(), seeds, strict=True)):
        random = np.random.default_rng(seed)
        for _ in range(config.frequency_masks):
            width = int(random.integers(0, config.frequency_mask_bins + 1))
            start = int(random.integers(0, max(1, mel_bins - width + 1)))
            masked_BTF[index, :, start : start + width] = 0.0
        widest = min(config.time_mask_frames, int(config.time_mask_max_share * frames))
        for _ in range(config.time_masks):
            width = int(random.integers(0, widest + 1))
            start = int(random.integers(0, max(1, frames - width + 1)))
            masked_BTF[index, start : start + width, :] = 0.0
    return masked_BTF
