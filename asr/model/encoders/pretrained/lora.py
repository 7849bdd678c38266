"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) beside a pretrained model's own weights, by peft.

The model's weights become constants: what is trained, averaged and stored are the adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec

from torch import nn

from asr.config.model import LoraConfig
from asr.errors import UserError
from asr.model.encoders.pretrained.constants import weights_sha256
from asr.model.encoders.pretrained.encoder import PretrainedEncoder


def add_lora(encoder: PretrainedEncoder, lora: LoraConfig, sha256: str | None = None) -> None:
    """Put adapters into an encoder; at first they change no output.

    `sha256`: of the model's weights, where it has more than an encoder; None for the encoder's own. Raises
    UserError where peft is not installed.
    """
    sha256 = weights_sha256(encoder.network) if sha256 is None else sha256
    inject(
        encoder.network,
        lora,
        lambda name: 1 <= encoder.depth(f"network.{name}.weight") <= encoder.layers,
        encoder.attention(),
    )
    encoder.hold_weights(sha256)


def inject(
    network: nn.Module,
    lora: LoraConfig,
    is_inside: Callable[[str], bool],
    attention: Iterable[nn.Module],
) -> None:
    """Put adapters of `lora.rank`, scaled by alpha / rank, beside a network's projections.

    `is_inside` says by a projection's name whether it is one of the layers'; `attention` is theirs. Raises
    UserError where peft is not installed.
    """
    if find_spec("peft") is None:
        raise UserError("model.lora: peft is not installed", "pip install 'asr-ema[pretrained]'")
    import peft

    of_attention = {id(part) for module in attention for part in module.modules()}
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        and is_inside(name)
        and (lora.targets == "all" or id(module) in of_attention)
    ]
    adapters = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=names,
        bias="none",
    )
    peft.inject_adapter_in_model(adapters, network)
