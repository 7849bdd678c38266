"""Parakeet, a FastConformer: eight log-mel frames in one, then conformer layers.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins, S encoder frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.model.encoders.pretrained.encoder import PretrainedEncoder, seen
from asr.model.encoders.pretrained.spectra import Spectra, statistics
from asr.model.features import Recording, frame_mask

# As transformers' feature extractor has them, whatever its settings.
_LOG_FLOOR = 2.0**-24
_STD_FLOOR = 1e-5


class ParakeetFeatures(Spectra):
    """NeMo's log-mel features, normalised by bin."""

    window: Tensor
    mel_FC: Tensor

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor, extractor.n_fft, extractor.hop_length, extractor.n_fft // 2)
        self.width, self.preemphasis = extractor.feature_size, extractor.preemphasis or 0.0
        window = torch.hann_window(extractor.win_length, periodic=False)
        self.register_buffer("window", window, persistent=False)
        mel_FC = torch.as_tensor(extractor.mel_filters).float()
        self.register_buffer("mel_FC", mel_FC, persistent=False)

    def windows(self, samples_B: Tensor) -> Tensor:
        return samples_B // self.hop_samples

    def filtered(self, waveforms_BN: Tensor) -> Tensor:
        return waveforms_BN - self.preemphasis * functional.pad(waveforms_BN[:, :-1], (1, 0))

    def spectra(self, padded_BN: Tensor) -> Tensor:
        spectrum_BCT = torch.stft(
            padded_BN,
            self.span,
            self.hop_samples,
            win_length=len(self.window),
            window=self.window,
            center=False,
            return_complex=True,
        )
        energies_BFT = self.mel_FC @ spectrum_BCT.abs().square()
        return (energies_BFT + _LOG_FLOOR).log().transpose(1, 2)

    def scaled(self, spectra_BTF: Tensor, windows_B: Tensor, recording: Recording | None) -> Tensor:
        if recording is not None:
            return (spectra_BTF - recording.mean) / (recording.std + _STD_FLOOR)
        mean_B1F, variance_B1F = statistics(spectra_BTF, windows_B)
        return (spectra_BTF - mean_B1F) / (variance_B1F.sqrt() + _STD_FLOOR)


class ParakeetEncoder(PretrainedEncoder):
    """Strided convolutions, and conformer layers whose batch statistics stay the pretrained model's."""

    notes = ("batch norm: by the pretrained model's statistics, which no training changes",)

    def __init__(self, network: Any, config: Any, extractor: Any) -> None:
        own = getattr(config, "encoder_config", config)
        super().__init__(network, config, extractor, own.hidden_size)
        self.stride, self.layers = own.subsampling_factor, own.num_hidden_layers
        self.layer_drop = own.layerdrop

    def front_end(self) -> ParakeetFeatures:
        return ParakeetFeatures(self.extractor)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        subsampling = self.network.subsampling
        for _ in range(subsampling.num_layers):
            reduced_B = lengths_B + 2 * subsampling.padding - subsampling.kernel_size
            lengths_B = reduced_B // subsampling.stride + 1
        return lengths_B

    def depth(self, name: str) -> int:
        parts = name.split(".")
        return 1 + int(parts[parts.index("layers") + 1]) if "subsampling" not in parts else 0

    def _enter(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        mask_BT = frame_mask(lengths_B, features_BTF.shape[1])
        hidden_BSD = self.network.subsampling(features_BTF, mask_BT) * self.network.input_scale
        return functional.dropout(hidden_BSD, self.network.dropout, self.training)

    def _layers(self, frames: int, reach: int | None) -> list[Callable[[Tensor, Tensor], Tensor]]:
        like = next(self.network.layers.parameters())
        positions_1PD = self.network.encode_positions(like.new_empty(1, frames, self.width))
        return [partial(_through, layer, positions_1PD, reach) for layer in self.network.layers]

    def _leave(self, hidden_BSD: Tensor) -> Tensor:
        return hidden_BSD


def _through(
    layer: nn.Module,
    positions_1PD: Tensor,
    reach: int | None,
    hidden_BSD: Tensor,
    mask_BS: Tensor,
) -> Tensor:
    # A padded frame attends to nothing, by which its convolution knows it.
    mask_B1SS = seen(mask_BS, reach) & mask_BS[:, None, :, None]
    return layer(
        hidden_BSD,
        attention_mask=mask_B1SS & mask_BS[:, None, None, :],
        position_embeddings=positions_1PD.expand(len(hidden_BSD), -1, -1),
    )
