"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) beside a pretrained encoder's own weights, by peft.

The encoder's weights become constants: what is trained, averaged and stored are the adapters.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from torch import nn

from asr.errors import UserError
from asr.model.encoders.pretrained.encoder import PretrainedEncoder

Targets = Literal["attention", "all"]
"""The projections of the layers' attention, or all projections of the layers."""


def add_lora(
    encoder: PretrainedEncoder,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    targets: Targets = "attention",
) -> None:
    """Put adapters of `rank`, scaled by alpha / rank, into an encoder; at first they change no output.

    Raises UserError where peft is not installed.
    """
    if find_spec("peft") is None:
        raise UserError("model.lora: peft is not installed", "pip install 'asr-ema[pretrained]'")
    from peft import LoraConfig, inject_adapter_in_model

    network = encoder.network
    attention = {id(part) for module in encoder.attention() for part in module.modules()}
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        and 1 <= encoder.depth(f"network.{name}.weight") <= encoder.layers
        and (targets == "all" or id(module) in attention)
    ]
    encoder.base_sha256 = encoder.weights_sha256()
    adapters = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names, bias="none"
    )
    inject_adapter_in_model(adapters, network)
    encoder.hold_weights()
