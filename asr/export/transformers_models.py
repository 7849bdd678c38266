"""Our networks as transformers' models, weight by weight."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from asr.errors import UserError
from asr.model.acoustic_model import AcousticModel
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.encoders.pretrained import PretrainedEncoder
from asr.model.loaded_model import LoadedModel
from asr.model.tokenizer import BLANK

_PARAKEET = ("parakeet_ctc", "parakeet_encoder")


def has_ctc_class(encoder: PretrainedEncoder) -> bool:
    """Whether transformers has a CTC model of the encoder's family; Whisper has none."""
    import transformers

    kind = encoder.config.model_type
    known = transformers.models.auto.modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES
    return kind in known or kind in _PARAKEET


def ctc_model(model: LoadedModel, encoder: PretrainedEncoder) -> Any:
    """transformers' CTC model with the weights of ours; adapters are merged into what they adapt."""
    import transformers

    assert isinstance(model.network, AcousticModel)
    config, size = copy.deepcopy(encoder.config), model.tokenizer.vocabulary_size
    if config.model_type in _PARAKEET:
        own = getattr(config, "encoder_config", config)
        config = transformers.ParakeetCTCConfig(
            encoder_config=own.to_dict(), vocab_size=size, pad_token_id=BLANK
        )
    config.vocab_size, config.pad_token_id = size, BLANK
    made = transformers.AutoModelForCTC.from_config(config, dtype=torch.float32).eval()
    part, head = (
        ("encoder", "ctc_head")
        if config.model_type in _PARAKEET
        else (made.base_model_prefix, "lm_head")
    )
    _fill(getattr(made, part), _tensors(encoder.network))
    with torch.no_grad():
        target = getattr(made, head)
        target.weight.copy_(model.network.head.weight.view_as(target.weight))
        target.bias.copy_(model.network.head.bias)
    return made


def decoder_model(
    network: EncoderDecoder, encoder: PretrainedEncoder, generation: Mapping[str, Any]
) -> Any:
    """transformers' encoder-decoder with the weights of ours; what is tied stays so.

    `generation` is what its generation_config.json says.
    """
    import transformers

    config = copy.deepcopy(encoder.config)
    auto = transformers.AutoModelForSpeechSeq2Seq
    made = auto.from_config(config, dtype=torch.float32).eval()
    _fill(made.model.encoder, _tensors(encoder.network))
    _fill(made.model.decoder, _tensors(network.decoder))
    made.tie_weights()
    if generation:
        made.generation_config = transformers.GenerationConfig(**generation)
    return made


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """All tensors of a network by their names in transformers' own, adapters merged."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        merge = getattr(module, "merge", None)
        if hasattr(module, "lora_A") and callable(merge):
            merge()
    named = [*network.named_parameters(), *network.named_buffers()]
    return {
        name.replace(".base_layer.", "."): tensor.detach()
        for name, tensor in named
        if ".lora_" not in name
    }


@torch.no_grad()
def _fill(target: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors in by name. A weight that is kept as length and direction gets both from the whole.

    Raises UserError where the target has a parameter that is not among them.
    """
    own = dict(target.named_parameters()) | dict(target.named_buffers())
    whole = {
        f"{name}.weight": module
        for name, module in target.named_modules()
        if parametrize.is_parametrized(module, "weight")
    }
    for name, module in whole.items():
        module.weight = tensors[name].clone()  # torch splits it again
    split = {f"{name.rpartition('.')[0]}.parametrizations" for name in whole}
    for name, tensor in own.items():
        if any(name.startswith(prefix) for prefix in split) or name.endswith("num_batches_tracked"):
            continue
        if name in tensors:
            tensor.copy_(tensors[name])
        elif isinstance(tensor, nn.Parameter):
            raise UserError(
                f"transformers' model has a weight '{name}' that this one has not",
                "install the version of transformers that it was trained with",
            )
