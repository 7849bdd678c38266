"""A recipe's network without its weights: what can be counted on it before hours are spent."""

from __future__ import annotations

from asr.config.schema import Config
from asr.model.speech_model import SpeechModel


def network_of(config: Config, vocabulary: int) -> SpeechModel:
    """On torch's meta device: shapes, no memory. Raises UserError where a pretrained model is not there."""
    import torch

    from asr.model.make import make_model

    with torch.device("meta"):
        return make_model(config, vocabulary, with_weights=False)
