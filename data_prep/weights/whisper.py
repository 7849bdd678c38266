"""Whisper's weights: CTranslate2's names and shapes -> those of Hugging Face's layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from asr.errors import UserError

_NORMS = {
    "layer_norm": "layer_norm",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}
_LINEAR = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
_TABLES = {
    "encoder/position_encodings/encodings": "encoder.embed_positions.weight",
    "decoder/position_encodings/encodings": "decoder.embed_positions.weight",
    "decoder/embeddings/weight": "decoder.embed_tokens.weight",
}
_PARTS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}
_NAME = re.compile(
    r"(encoder|decoder)/(?:layer_(\d+)/)?(conv[12]|(?:\w+/)?layer_norm|\w+/linear_\d)/(\w+)"
)


def to_hugging_face(tensors: dict[str, NDArray[Any]], where: str) -> dict[str, NDArray[Any]]:
    """The model's weights under the names of WhisperForConditionalGeneration; its settings are left out.

    The output projection is tied to the embeddings, and so not there. Raises UserError, naming `where`, for a
    tensor that has no place in Whisper.
    """
    named: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 0 or name == "decoder/alignment_heads":
            continue
        places = list(_places(name, tensor))
        if not places:
            raise UserError(
                f"{where}: the tensor '{name}' {tensor.shape} is none of Whisper's",
                "give the file that the recipe names",
            )
        named.update((f"model.{place}", part) for place, part in places)
    return dict(sorted(named.items()))


def _places(name: str, tensor: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    if name in _TABLES:
        yield _TABLES[name], tensor
        return
    match = _NAME.fullmatch(name)
    if match is None or match[4] not in _PARTS:
        return
    side, layer, module, part = match[1], match[2], match[3], _PARTS[match[4]]
    prefix = f"{side}.layers.{layer}." if layer is not None else f"{side}."
    if module in _LINEAR:
        targets = _LINEAR[module]
        rows = len(tensor) // len(targets)
        for number, target in enumerate(targets):
            # The keys' bias is zero: Whisper has none.
            if part == "weight" or not target.endswith("k_proj"):
                yield f"{prefix}{target}.{part}", tensor[number * rows : (number + 1) * rows]
    elif module in _NORMS or module.startswith("conv"):
        yield f"{prefix}{_NORMS.get(module, module)}.{part}", tensor
