"""Features of the pretrained families that are made of a filter bank's energies, and bare waveforms.

Shape suffixes: B utterances, N samples, T frames, F features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from asr.model.features import FrontEnd, Recording, frame_mask
from asr.utils.devices import sent


class Spectra(FrontEnd):
    """Log energies of a filter bank, scaled by the utterance's own statistics."""

    width: int
    is_traced = False
    """Whether a graph is made of it, in which no size depends on a value: frames that no utterance has stay."""

    def __init__(self, extractor: Any, span: int, step: int, margin: int) -> None:
        """Samples of a window, from one to the next, and of zeros before the first and after the last."""
        super().__init__()
        self.sample_rate_hz = extractor.sampling_rate
        self.span, self.step, self.margin = span, step, margin
        self.hop_samples = step

    @abstractmethod
    def spectra(self, padded_BN: Tensor) -> Tensor:
        """Log energies (B, T, F) of the windows that begin at each hop."""

    @abstractmethod
    def windows(self, samples_B: Tensor) -> Tensor:
        """Number of windows (B,) of utterances with `samples_B` samples."""

    @abstractmethod
    def scaled(self, spectra_BTF: Tensor, windows_B: Tensor, recording: Recording | None) -> Tensor:
        """The same, scaled by an utterance's frames or by a whole recording's."""

    def frames(self, samples_B: Tensor) -> Tensor:
        return self.windows(samples_B)

    def filtered(self, waveforms_BN: Tensor) -> Tensor:
        """Waveforms as the transform wants them."""
        return waveforms_BN

    def edges(self, padded_BN: Tensor, waveforms_BN: Tensor, samples_B: Tensor) -> None:
        """Put what is not zero into the margins of padded waveforms."""

    @torch.no_grad()
    def forward(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        longest = None if self.is_traced else max(1, int(self.windows(samples_B).max()))
        samples_B = sent(samples_B, waveforms_BN.device)
        mask_BN = frame_mask(samples_B, waveforms_BN.shape[1])
        waveforms_BN = waveforms_BN.to(next(self.buffers()).dtype)
        waveforms_BN = self.filtered(waveforms_BN).masked_fill(~mask_BN, 0.0)
        windows_B = self.windows(samples_B)
        excess = max(0, self.span - waveforms_BN.shape[1] - 2 * self.margin)
        padded_BN = functional.pad(waveforms_BN, (self.margin, self.margin + excess))
        self.edges(padded_BN, waveforms_BN, samples_B)
        spectra_BTF = self.spectra(padded_BN)[:, :longest]
        features_BTF = self.scaled(spectra_BTF, windows_B, recording)
        mask_BT1 = frame_mask(windows_B, features_BTF.shape[1])[:, :, None]
        return features_BTF.masked_fill(~mask_BT1, 0.0), windows_B

    @torch.no_grad()
    def survey(self, blocks: Iterable[Tensor]) -> Recording:
        device = next(self.buffers()).device
        margin_N = torch.zeros(self.margin)
        sums_2F = torch.zeros(2, 1, dtype=torch.float64, device=device)
        peak = torch.full((), -torch.inf, device=device)
        samples, count, pending_N = 0, 0, margin_N
        for block_N in chain(blocks, [margin_N]):
            samples += len(block_N)
            pending_N = torch.cat([pending_N, block_N])
            whole = 1 + (len(pending_N) - self.span) // self.step
            if whole > 0:
                end = (whole - 1) * self.step + self.span
                own_TF = self.spectra(self.filtered(sent(pending_N[None, :end], device)))[0]
                sums_2F = sums_2F + torch.stack([own_TF.sum(0), own_TF.square().sum(0)]).double()
                peak, count = torch.maximum(peak, own_TF.max()), count + whole
                pending_N = pending_N[whole * self.step :]
        mean_F, square_F = sums_2F / max(1, count)
        std_F = (square_F - mean_F.square()).clamp(min=0).sqrt()
        return Recording(samples - self.margin, mean_F.float(), std_F.float(), peak)


def statistics(features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance, each (B, 1, F), over the valid frames."""
    mask_BT1 = frame_mask(lengths_B, features_BTF.shape[1])[:, :, None]
    count_B11 = lengths_B[:, None, None].float()
    mean_B1F = features_BTF.masked_fill(~mask_BT1, 0.0).sum(1, keepdim=True) / count_B11.clamp(
        min=1
    )
    centred_BTF = (features_BTF - mean_B1F).masked_fill(~mask_BT1, 0.0)
    return mean_B1F, centred_BTF.square().sum(1, keepdim=True) / (count_B11 - 1).clamp(min=1)
