"""A trained CTC model as modules without Python's branches, of which programs are made.

Shape suffixes: B utterances, N samples, T feature frames, F features of a frame, S encoder frames,
V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import UserError
from asr.model.encoders.pretrained.spectra import Spectra
from asr.model.features import FrontEnd, LogMel, frame_mask
from asr.model.loaded_model import LoadedModel
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import BLANK

IMPOSSIBLE = -1e4
"""Log-probability of all but the blank beyond an utterance's end: whoever forgets the lengths reads nothing."""
_FIELD = 400
"""Samples that the convolutions of wav2vec 2.0 and its kin want at least."""
_SHERPA_FLOOR = 1e-5
"""sherpa-onnx divides a waveform by the root of its variance and this."""


class CtcNetwork(nn.Module):
    """Features (B, T, F), or waveforms (B, T), and lengths (B,) -> log-probabilities (B, S, V), frames (B,)."""

    def __init__(self, network: SpeechModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        logits_BSV, frames_B = self.network(features, lengths)
        log_probs_BSV = logits_BSV.float().log_softmax(-1)
        outside_BS1 = ~frame_mask(frames_B, log_probs_BSV.shape[1])[:, :, None]
        is_blank_V = torch.arange(log_probs_BSV.shape[2], device=log_probs_BSV.device) == BLANK
        nothing_V = torch.where(is_blank_V, 0.0, IMPOSSIBLE)
        return torch.where(outside_BS1, nothing_V, log_probs_BSV), frames_B


class Features(nn.Module):
    """Waveforms (B, N) at the model's rate and samples (B,) -> what the network takes, and its lengths (B,).

    Computed in `dtype`. In ONNX that is fp64, the default: onnxruntime's transform in fp32 moves Whisper's
    features by up to 2e-3 where a band is almost silent, and PyTorch's by 1e-5.
    """

    def __init__(self, front_end: FrontEnd, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.front_end, self.dtype = copy.deepcopy(front_end).to(dtype), dtype
        if isinstance(self.front_end, Spectra):
            self.front_end.is_traced = True
        self.padding = front_end.mel.n_fft if isinstance(front_end, LogMel) else _FIELD

    def forward(self, waveforms: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        # Zeros behind make room for a window in the shortest waveform; frames of them are masked.
        padded = functional.pad(waveforms.to(self.dtype), (0, self.padding))
        features, lengths = self.front_end(padded, samples)
        return features.float(), lengths


class SherpaFeatures(nn.Module):
    """One waveform (1, N), as sherpa-onnx hands it to a model that takes waveforms -> the same.

    It comes with zero mean, divided by sqrt(variance + 1e-5). Our log-mel features have a floor, which a gain
    would move: the gain is undone, since the variance v of what comes tells that it was 1e-5 v / (1 - v).
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.features = Features(front_end)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        variance_11 = waveform.double().square().mean(1, keepdim=True)
        gain_11 = (_SHERPA_FLOOR / (1.0 - variance_11).clamp(min=1e-7)).sqrt().float()
        samples_B = torch.full_like(waveform[:, 0], waveform.shape[1], dtype=torch.long)
        found: tuple[Tensor, Tensor] = self.features(waveform * gain_11, samples_B)
        return found


def ctc_network(model: LoadedModel) -> CtcNetwork:
    """Raises UserError for an encoder-decoder, which has no logits of frames."""
    if model.network.is_read_in_steps:
        raise UserError(
            f"{model.checkpoint}: an encoder-decoder writes its text token by token, in no single graph",
            "export it with --to hf: CTranslate2 and faster-whisper take what that writes",
        )
    return CtcNetwork(model.network).eval()


def example(front_end: FrontEnd) -> tuple[Tensor, Tensor]:
    """Two utterances by which a network is traced."""
    frames = 2 * max(100, front_end.idle_frames)
    shape = (2, frames) if front_end.width is None else (2, frames, front_end.width)
    draws = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=draws), torch.tensor([frames, frames // 2])


def free_axes(arguments: Sequence[Tensor]) -> tuple[dict[int, Any], ...]:
    """What exporters are told of the sizes of their arguments: the first two axes of each are of any size."""
    any_size = torch.export.Dim.DYNAMIC
    return tuple(dict.fromkeys(range(min(2, one.dim())), any_size) for one in arguments)
