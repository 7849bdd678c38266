"""Layers of our encoder as torch compiles them: fewer, larger kernels and less of Python between them."""

from __future__ import annotations

import torch

from asr.model.encoders.encoder import Encoder
from asr.model.encoders.transformer import TransformerEncoder

_VERSIONS_OF_A_LAYER = 64
"""Training and inference, the dropout of both phases, types, a batch of one and of many."""


def compile_layers(encoder: Encoder) -> None:
    """Have its layers compiled at their first use: once for all of them, and for all lengths and batch sizes.

    Names and values of weights stay. Raises TypeError for an encoder that is not ours; a recipe's reader
    refuses it before.
    """
    if not isinstance(encoder, TransformerEncoder):
        raise TypeError(f"{type(encoder).__name__} is not compiled")
    torch._dynamo.config.recompile_limit = _VERSIONS_OF_A_LAYER
    for layer in encoder.blocks:
        layer.compile(dynamic=True)
