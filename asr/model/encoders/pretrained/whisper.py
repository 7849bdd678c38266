"""Whisper's encoder, for utterances of any length up to its 30 s, without padding to them.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins, S encoder frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import UserError
from asr.model.encoders.pretrained.encoder import PretrainedEncoder, seen
from asr.model.encoders.pretrained.spectra import Spectra
from asr.model.features import Recording, frame_mask

_RANGE = 8.0  # decades below the loudest value


class WhisperFeatures(Spectra):
    """Whisper's log-mel features (Radford et al. 2022, arXiv 2212.04356, section 2.2), of its own frames alone.

    Equal to its feature extractor's on 30 s. A shorter utterance is as if silence followed, which is cut off.
    """

    window: Tensor
    mel_FC: Tensor

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor, extractor.n_fft, extractor.hop_length, extractor.n_fft // 2)
        self.width = extractor.feature_size
        self.longest_samples = extractor.n_samples
        self.register_buffer("window", torch.hann_window(self.span), persistent=False)
        mel_FC = torch.as_tensor(extractor.mel_filters).T.float().contiguous()
        self.register_buffer("mel_FC", mel_FC, persistent=False)

    def windows(self, samples_B: Tensor) -> Tensor:
        return samples_B // self.hop_samples

    def edges(self, padded_BN: Tensor, waveforms_BN: Tensor, samples_B: Tensor) -> None:
        """The transform's mirrored edges: at the start, and where no silence follows."""
        margin, longest = self.margin, self.longest_samples
        start_BN = functional.pad(waveforms_BN, (0, max(0, margin + 1 - waveforms_BN.shape[1])))
        padded_BN[:, :margin] = start_BN[:, 1 : margin + 1].flip(1)
        full_B = samples_B >= longest
        if not self.is_traced and full_B.any():  # a graph takes less than that
            mirrored = waveforms_BN[full_B, longest - margin - 1 : longest - 1].flip(1)
            padded_BN[full_B, margin + longest : 2 * margin + longest] = mirrored

    def spectra(self, padded_BN: Tensor) -> Tensor:
        spectrum_BCT = torch.stft(
            padded_BN,
            self.span,
            self.hop_samples,
            window=self.window,
            center=False,
            return_complex=True,
        )
        energies_BFT = self.mel_FC @ spectrum_BCT.abs().square()
        return energies_BFT.clamp(min=1e-10).log10().transpose(1, 2)

    def scaled(self, spectra_BTF: Tensor, windows_B: Tensor, recording: Recording | None) -> Tensor:
        if recording is not None:
            assert recording.peak is not None
            peak_B11 = recording.peak
        else:
            mask_BT1 = frame_mask(windows_B, spectra_BTF.shape[1])[:, :, None]
            peak_B11 = spectra_BTF.masked_fill(~mask_BT1, -10.0).amax((1, 2), keepdim=True)
        return (torch.maximum(spectra_BTF, peak_B11 - _RANGE) + 4.0) / 4.0


class WhisperEncoder(PretrainedEncoder):
    """Convolutions, positions cut to the utterance, layers; frames beyond an utterance's end are masked."""

    max_seconds: float
    wants_silence = True

    def __init__(self, network: Any, config: Any, extractor: Any) -> None:
        super().__init__(network, config, extractor, config.d_model)
        self._constants.hold(["embed_positions.weight"])
        self.stride, self.layers = 2, config.encoder_layers
        self.layer_drop = config.encoder_layerdrop
        self.longest_frames = 2 * config.max_source_positions
        self.max_seconds = self.longest_frames * extractor.hop_length / extractor.sampling_rate

    def front_end(self) -> WhisperFeatures:
        return WhisperFeatures(self.extractor)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return (lengths_B + 1) // 2

    def depth(self, name: str) -> int:
        parts = name.split(".")
        if "layers" in parts:
            return 1 + int(parts[parts.index("layers") + 1])
        return 0 if parts[-2].startswith("conv") else self.layers + 1

    def _enter(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        # Only a batch that is too long is looked at: the host would wait for its lengths.
        is_long = features_BTF.shape[1] > self.longest_frames
        longest = int(lengths_B.max()) if is_long else 0
        if longest > self.longest_frames:
            seconds = longest * self.max_seconds / self.longest_frames
            raise UserError(
                f"an utterance of {seconds:.2f} s: this Whisper takes at most {self.max_seconds:g} s",
                f"set corpus.max_seconds to {self.max_seconds:g}, or cut long audio",
            )
        features_BTF = features_BTF[:, : self.longest_frames]
        network = self.network
        # A convolution must see the same zeros beyond an utterance's end as beyond the end of the batch.
        mask_B1T = frame_mask(lengths_B, features_BTF.shape[1])[:, None].to(features_BTF.dtype)
        hidden_BDT = functional.gelu(network.conv1(features_BTF.transpose(1, 2) * mask_B1T))
        hidden_BDS = functional.gelu(network.conv2(hidden_BDT * mask_B1T))
        hidden_BSD = hidden_BDS.transpose(1, 2)
        hidden_BSD = hidden_BSD + network.embed_positions.weight[: hidden_BSD.shape[1]]
        return functional.dropout(hidden_BSD, network.dropout, self.training)

    def _layers(self, frames: int, reach: int | None) -> list[Callable[[Tensor, Tensor], Tensor]]:
        return [partial(_through, layer, reach) for layer in self.network.layers]

    def _leave(self, hidden_BSD: Tensor) -> Tensor:
        return self.network.layer_norm(hidden_BSD)


def _through(layer: nn.Module, reach: int | None, hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    return layer(hidden_BSD, seen(mask_BS, reach))
