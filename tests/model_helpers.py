"""A small model, and waveforms of noise for it."""

from __future__ import annotations

import torch

from asr.config.model import TransformerConfig
from asr.model.acoustic_model import AcousticModel
from asr.model.encoders.transformer import TransformerEncoder

SAMPLES = [4000, 16_000, 9001, 30_123]

VARIANTS = [
    {"norm": "pre", "positions": "rotary", "convolution_kernel": 15, "stride": 4},
    {"norm": "post", "positions": "sinusoidal", "convolution_kernel": 0, "stride": 3},
    {"norm": "pre", "positions": "none", "convolution_kernel": 7, "stride": 3},
]


def small_model(**options: object) -> AcousticModel:
    torch.manual_seed(0)
    shape = {"width": 32, "heads": 4, "layers": 3, "feed_forward_width": 64, "layer_drop": 0.0}
    config = TransformerConfig.model_validate({**shape, **options})
    return AcousticModel(TransformerEncoder(80, config), 12)


def waveforms() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(samples, generator=generator) * 0.1 for samples in SAMPLES]


def padded(pieces: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(piece) for piece in pieces])
    return torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True), lengths
