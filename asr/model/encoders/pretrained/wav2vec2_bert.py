"""w2v-BERT 2.0: conformer layers over pairs of Kaldi's log-mel frames.

Shape suffixes: B utterances, N samples, T windows, W samples of a window, C bins of a transform, F mel bins,
S encoder frames, D width.
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
from asr.model.encoders.pretrained.spectra import Spectra, statistics
from asr.model.features import Recording, frame_mask

# As Kaldi has them and transformers' feature extractor takes them, whatever its settings.
_WINDOW, _HOP, _FFT = 400, 160, 512
_PREEMPHASIS = 0.97
_FLOOR = 1.192092955078125e-07
_VARIANCE_FLOOR = 1e-7


class KaldiFeatures(Spectra):
    """As SeamlessM4T's feature extractor has them: Kaldi's filter bank, normalised by bin, in pairs."""

    window_W: Tensor
    mel_CF: Tensor
    takes_masks = False

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor, _WINDOW, _HOP, margin=0)
        self.stacked = extractor.stride
        self.hop_samples = _HOP * self.stacked
        self.width = extractor.num_mel_bins * self.stacked
        window_W = torch.as_tensor(extractor.window).float()
        self.register_buffer("window_W", window_W, persistent=False)
        mel_CF = torch.as_tensor(extractor.mel_filters).float()
        self.register_buffer("mel_CF", mel_CF, persistent=False)

    def windows(self, samples_B: Tensor) -> Tensor:
        return (1 + (samples_B - _WINDOW) // _HOP).clamp(min=0)

    def frames(self, samples_B: Tensor) -> Tensor:
        return self.windows(samples_B) // self.stacked

    def forward(
        self, waveforms_BN: Tensor, samples_B: Tensor, recording: Recording | None = None
    ) -> tuple[Tensor, Tensor]:
        features_BTF, windows_B = super().forward(waveforms_BN, samples_B, recording)
        excess = max(0, self.stacked - features_BTF.shape[1])
        features_BTF = functional.pad(features_BTF, (0, 0, 0, excess))
        whole = features_BTF.shape[1] // self.stacked
        features_BSF = features_BTF[:, : whole * self.stacked].reshape(-1, whole, self.width)
        lengths_B = windows_B // self.stacked
        mask_BS1 = frame_mask(lengths_B, whole)[:, :, None]
        return features_BSF.masked_fill(~mask_BS1, 0.0), lengths_B

    def spectra(self, padded_BN: Tensor) -> Tensor:
        windows_BTW = padded_BN.unfold(1, _WINDOW, _HOP) * 2.0**15
        windows_BTW = windows_BTW - windows_BTW.mean(-1, keepdim=True)
        before_BTW = functional.pad(windows_BTW[..., :-1], (1, 0), mode="replicate")
        windows_BTW = (windows_BTW - _PREEMPHASIS * before_BTW) * self.window_W
        energies_BTC = torch.fft.rfft(windows_BTW, _FFT).abs().square()
        return (energies_BTC @ self.mel_CF).clamp(min=_FLOOR).log()

    def scaled(self, spectra_BTF: Tensor, windows_B: Tensor, recording: Recording | None) -> Tensor:
        if recording is not None:
            return (spectra_BTF - recording.mean) / recording.std
        mean_B1F, variance_B1F = statistics(spectra_BTF, windows_B)
        return (spectra_BTF - mean_B1F) / (variance_B1F + _VARIANCE_FLOOR).sqrt()


class Wav2Vec2BertEncoder(PretrainedEncoder):
    """A projection of the features and conformer layers, whose convolutions look back only."""

    def __init__(self, network: Any, config: Any, extractor: Any) -> None:
        if config.add_adapter:
            raise UserError(
                "model.encoder: its config.json has add_adapter, whose convolutions leak padding",
                "take the model without the adapter",
            )
        super().__init__(network, config, extractor, config.hidden_size)
        if hasattr(network, "masked_spec_embed"):
            self._constants.hold(["masked_spec_embed"])
        for layer in network.encoder.layers:
            layer.conv_module.dropout = _DropoutOfChannels(layer.conv_module.dropout)
        self.stride, self.layers = 1, config.num_hidden_layers
        self.layer_drop = config.layerdrop

    def front_end(self) -> KaldiFeatures:
        return KaldiFeatures(self.extractor)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return lengths_B

    def depth(self, name: str) -> int:
        parts = name.split(".")
        if "layers" in parts:
            return 1 + int(parts[parts.index("layers") + 1])
        return self.layers + 1 if "intermediate_ffn" in parts else 0

    def _enter(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        hidden_BSD, _ = self.network.feature_projection(features_BTF)
        hidden_BSD = self._masked(hidden_BSD, lengths_B)
        mask_BS1 = frame_mask(lengths_B.clamp(min=1), hidden_BSD.shape[1])[:, :, None]
        return self.network.encoder.dropout(hidden_BSD.masked_fill(~mask_BS1, 0.0))

    def _layers(self, frames: int, reach: int | None) -> list[Callable[[Tensor, Tensor], Tensor]]:
        encoder, positions = self.network.encoder, None
        if encoder.embed_positions is not None:
            # It caches them, and what an evaluation had cached no backward pass could use.
            encoder.embed_positions.cached_sequence_length = None
            like = next(encoder.parameters())
            with torch.inference_mode(False):
                positions = encoder.embed_positions(like.new_empty(1, frames, self.width))
        return [partial(_through, layer, positions, reach) for layer in encoder.layers]

    def _leave(self, hidden_BSD: Tensor) -> Tensor:
        feed_forward = self.network.intermediate_ffn
        return hidden_BSD if feed_forward is None else hidden_BSD + 0.5 * feed_forward(hidden_BSD)


class _DropoutOfChannels(nn.Module):
    """Dropout of (B, D, S) as of (B, S, D), whose draws an utterance's frames have in a row."""

    def __init__(self, dropout: nn.Dropout) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, hidden_BDS: Tensor) -> Tensor:
        return self.dropout(hidden_BDS.transpose(1, 2)).transpose(1, 2)


def _through(
    layer: nn.Module,
    positions: Tensor | None,
    reach: int | None,
    hidden_BSD: Tensor,
    mask_BS: Tensor,
) -> Tensor:
    return layer(
        hidden_BSD,
        attention_mask=seen(mask_BS, reach),
        relative_position_embeddings=positions,
        conv_attention_mask=mask_BS,
    )
