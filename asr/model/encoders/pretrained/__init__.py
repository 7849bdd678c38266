"""Encoders that others have pretrained, by transformers: a family a file, and loading by path or hub id."""

from __future__ import annotations

from importlib.util import find_spec

from asr.errors import UserError
from asr.model.encoders.pretrained.encoder import CtcHead, PretrainedEncoder

__all__ = ["CtcHead", "PretrainedEncoder", "load_encoder"]


def load_encoder(source: str, with_weights: bool = True) -> PretrainedEncoder:
    """The encoder of a pretrained model, its parameters in fp32.

    `source` is a folder in Hugging Face's layout (config.json, preprocessor_config.json, *.safetensors), a
    checkpoint of ours that holds one, or the id of a model on a hub. Without weights the encoder is built from
    config.json alone, with the constants that `PretrainedEncoder.save` has written, or else the weights' own;
    of a checkpoint with adapters it is what they stand beside, and `lora.add_lora` makes room for them.
    Raises UserError where transformers is not installed, the model is not there, its weights are pickles, or
    its family is unknown.
    """
    if find_spec("transformers") is None:
        raise UserError(
            f"model.encoder '{source}': transformers is not installed",
            "pip install 'asr-ema[pretrained]'",
        )
    from asr.model.encoders.pretrained.loading import load

    return load(source, with_weights)
