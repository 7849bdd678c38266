"""A recipe's network without its weights: what can be counted on it before hours are spent."""

from __future__ import annotations

from functools import lru_cache

import yaml

from asr.config.recipe import dump_config, parse_config
from asr.config.schema import Config
from asr.model.speech_model import SpeechModel


def network_of(config: Config, vocabulary: int) -> SpeechModel:
    """On torch's meta device: shapes, no memory. Raises UserError where a pretrained model is not there."""
    import torch

    from asr.model.make import make_model

    with torch.device("meta"):
        return make_model(config, vocabulary, with_weights=False)


def parameters_of_pretrained(config: Config, vocabulary: int) -> int:
    """Those that are trained. A hub is asked once, however many ranks and stages want to know."""
    return _count(dump_config(config), vocabulary)


@lru_cache(maxsize=8)
def _count(config: str, vocabulary: int) -> int:
    network = network_of(parse_config(yaml.safe_load(config), "recipe"), vocabulary)
    return sum(parameter.numel() for parameter in network.parameters())
