"""Waveform -> what an encoder takes: our log-mel features here, a pretrained family's beside its encoder.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.

Everything here is computed per utterance and masked, so that an utterance's features do not depend
on the utterances it is batched with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from asr.config.features import FeatureConfig
from asr.utils.devices import sent

_LOG_FLOOR = 1e-6
_STD_FLOOR = 1e-3


def frame_mask(lengths_B: Tensor, frames: int) -> Tensor:
    """Boolean mask of the valid positions, shape (B, frames)."""
    return torch.arange(frames, device=lengths_B.device)[None, :] < lengths_B[:, None]


@dataclass(frozen=True)
class Recording:
    """What a first pass over a long recording finds out for its pieces."""

    samples: int
    mean: Tensor
    """(F,) fp32, over all its frames"""
    std: Tensor
    """(F,) fp32"""
    peak: Tensor | None = None
    """(), fp32: the largest of them, where features are cut off below it."""


class FrontEnd(nn.Module, ABC):
    """Waveforms -> what an encoder takes: features (B, T, F), or waveforms (B, T) whose frames are samples."""

    sample_rate_hz: int
    """Of the waveforms that it wants."""
    hop_samples: int
    """Samples from a frame to the next."""
    width: int | None
    """F; None where a frame is a number."""
    longest_seconds: float = 0.0
    """Of an utterance that the model can take; 0 where there is no limit."""
    shortest_seconds: float = 0.0
    """What a shorter utterance costs, too: silence is put behind it."""
    takes_masks: bool = True
    """Whether SpecAugment masks what comes out; else the encoder masks its own front end's output."""
    frame_multiple: int = 64
    """Batches are padded to a multiple of so many frames: oneDNN and cuDNN prepare a kernel for each new shape,
    and this makes shapes recur."""
    idle_frames: int = 16
    """Of an utterance that is long enough for any encoder, and cheap."""

    @abstractmethod
    def frames(self, samples_B: Tensor) -> Tensor:
        """Number of frames (B,) of utterances with `samples_B` samples."""

    @abstractmethod
    def forward(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) in fp32, zero where padded, and their lengths (B,) in frames.

        The lengths are where the waveforms are; `samples_B` may be on the host, so that nobody waits for them.
        Of an utterance alone, whatever it is batched with. Waveforms that are pieces of a recording are
        normalised by all of it.
        """

    @abstractmethod
    def survey(self, blocks: Iterable[Tensor]) -> Recording:
        """Length and statistics of a recording that comes in blocks (N,), in the memory of one block."""


class LogMel(FrontEnd):
    """Log-mel filter bank, normalised per utterance and mel bin to zero mean and unit variance.

    Frames are not padded or centred. The window stands in the middle of an FFT of the next power of
    two (25 ms: 400 samples in 512), so the number of frames is 1 + (samples - fft) // hop and depends
    on the utterance alone.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.sample_rate_hz, self.width = config.sample_rate_hz, config.mel_bins
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
        return (1 + (samples_B - self.mel.n_fft) // self.hop_samples).clamp(min=0)

    @torch.no_grad()
    def forward(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        features_BTF = self._bins(waveforms_BN)
        lengths_B = self.frames(sent(samples_B, waveforms_BN.device))
        mask_BT1 = frame_mask(lengths_B, features_BTF.shape[1])[:, :, None]
        if self.normalise and recording is not None:
            features_BTF = (features_BTF - recording.mean) / recording.std.clamp(min=_STD_FLOOR)
        elif self.normalise:
            features_BTF = _normalise(features_BTF, mask_BT1, lengths_B)
        return features_BTF.masked_fill(~mask_BT1, 0.0), lengths_B

    @torch.no_grad()
    def survey(self, blocks: Iterable[Tensor]) -> Recording:
        device = self.mel.mel_scale.fb.device
        sums_2F = torch.zeros(2, self.mel.n_mels, dtype=torch.float64, device=device)
        samples, frames, pending_N = 0, 0, torch.zeros(0)
        for block_N in blocks:
            samples += len(block_N)
            pending_N = torch.cat([pending_N, block_N])
            whole = int(self.frames(torch.tensor(len(pending_N))))
            if whole:
                end = (whole - 1) * self.hop_samples + self.mel.n_fft
                features_TF = self._bins(sent(pending_N[None, :end], device))[0].double()
                sums_2F += torch.stack([features_TF.sum(0), features_TF.square().sum(0)])
                frames += whole
                pending_N = pending_N[whole * self.hop_samples :]
        mean_F, square_F = sums_2F / max(1, frames)
        std_F = (square_F - mean_F.square()).clamp(min=0).sqrt()
        return Recording(samples, mean_F.float(), std_F.float())

    def _bins(self, waveforms_BN: Tensor) -> Tensor:
        """Log-mel energies (B, T, F) before normalisation."""
        shortfall = self.mel.n_fft - waveforms_BN.shape[1]
        if shortfall > 0:
            waveforms_BN = nn.functional.pad(waveforms_BN, (0, shortfall))
        energies_BFT: Tensor = self.mel(waveforms_BN.to(self.mel.mel_scale.fb.dtype))
        return energies_BFT.clamp(min=_LOG_FLOOR).log().transpose(1, 2)


def _normalise(features_BTF: Tensor, mask_BT1: Tensor, lengths_B: Tensor) -> Tensor:
    count_B11 = lengths_B.clamp(min=1)[:, None, None].float()
    mean_B1F = features_BTF.masked_fill(~mask_BT1, 0.0).sum(1, keepdim=True) / count_B11
    centred_BTF = (features_BTF - mean_B1F).masked_fill(~mask_BT1, 0.0)
    std_B1F = (centred_BTF.square().sum(1, keepdim=True) / count_B11).sqrt()
    return centred_BTF / std_B1F.clamp(min=_STD_FLOOR)


class FeatureExtractor:
    """What was read -> what the encoder wants, on the device."""

    def __init__(self, front_end: FrontEnd, is_stored: bool, device: torch.device) -> None:
        """`is_stored`: what is read are features already."""
        self.front_end = front_end.to(device)
        self.device = device
        self.is_stored = is_stored

    def __call__(self, read: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Features (B, T, F), or waveforms (B, T), and lengths (B,); T is a multiple of `frame_multiple`.

        Of waveforms (B, N) and their samples (B,), or of features that were stored; of nothing, which an idle
        rank has, B = 0.
        """
        if read is None:
            return self.silence(utterances=0)
        values, lengths_B = sent(read[0], self.device), read[1]
        if not self.is_stored:
            values, lengths_B = self.front_end(values, lengths_B)
        lengths_B = sent(lengths_B, self.device)
        excess = -values.shape[1] % self.front_end.frame_multiple
        padding = (*(0, 0) * (values.dim() - 2), 0, excess)
        return nn.functional.pad(values, padding), lengths_B

    def host_lengths(self, read: tuple[Tensor, Tensor] | None) -> Tensor:
        """The same lengths (B,), on the CPU: nobody waits for the device."""
        if read is None:
            return torch.zeros(0, dtype=torch.long)
        return read[1] if self.is_stored else self.front_end.frames(read[1])

    def silence(self, utterances: int = 1) -> tuple[Tensor, Tensor]:
        """The same of short silent utterances: a rank without speech takes part in collectives with them."""
        frames, width = self.front_end.idle_frames, self.front_end.width
        shape = (utterances, frames) if width is None else (utterances, frames, width)
        values = torch.zeros(shape, device=self.device)
        return values, torch.full((utterances,), frames, device=self.device)
