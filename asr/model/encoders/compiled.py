"""Layers of our encoder as torch compiles them: fewer, larger kernels and less of Python between them."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from asr.errors import UserError
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.transformer import TransformerEncoder
from asr.utils.devices import has_gpu
from asr.utils.faults import first_line

_VERSIONS_OF_A_LAYER = 64
"""Training and inference, the dropout of both phases, types, a batch of one and of many."""


def compile_layers(encoder: Encoder) -> None:
    """Have its layers compiled at their first use: once for all of them, and for all lengths and batch sizes.

    Names and values of weights stay. Raises UserError where this machine has no compiler, and TypeError for an
    encoder that is not ours, which a recipe's reader refuses before.
    """
    if not isinstance(encoder, TransformerEncoder):
        raise TypeError(f"{type(encoder).__name__} is not compiled")
    missing = missing_compiler()
    if missing is not None:
        raise missing
    torch._dynamo.config.recompile_limit = _VERSIONS_OF_A_LAYER
    for layer in encoder.blocks:
        layer.compile(dynamic=True)


def missing_compiler() -> UserError | None:
    """What torch.compile wants here and does not find; None where it can begin."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    what, remedy = "trainer.compile_layers", "set it to false"
    if has_gpu() and find_spec("triton") is None:
        return UserError(f"{what}: Triton is not installed", f"pip install triton, or {remedy}")
    try:
        get_cpp_compiler()
    except Exception as error:  # Inductor's own
        return UserError(
            f"{what}: no C++ compiler ({first_line(error)})", f"install g++, or {remedy}"
        )
    return None
