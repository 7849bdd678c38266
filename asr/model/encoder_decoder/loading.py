"""A folder in Hugging Face's layout, or a hub id -> an encoder-decoder of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asr.config.model import EncoderDecoderConfig, LoraConfig
from asr.errors import UserError
from asr.model.encoder_decoder.ctc_head import AuxiliaryCtc
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.encoder_decoder.text_decoder import MoonshineTextDecoder, TextDecoder
from asr.model.encoder_decoder.tokenizer import pretrained_tokenizer, special_tokens
from asr.model.encoders.pretrained.base import base_of, check_base
from asr.model.encoders.pretrained.constants import weights_sha256
from asr.model.encoders.pretrained.encoder import FOLDER, PretrainedEncoder
from asr.model.encoders.pretrained.lora import add_lora, inject


@dataclass(frozen=True)
class Family:
    """How transformers' model of a family becomes ours."""

    name: str
    """For people."""
    encoder: Callable[[Any, Any, Any], PretrainedEncoder]
    decoder: Callable[[Any], TextDecoder]


def families() -> Mapping[str, Family]:
    """By `model_type` of config.json. Needs transformers."""
    from asr.model.encoders.pretrained.moonshine import MoonshineEncoder
    from asr.model.encoders.pretrained.whisper import WhisperEncoder

    return {
        "moonshine": Family("Moonshine", MoonshineEncoder, MoonshineTextDecoder),
        "whisper": Family("Whisper, Distil-Whisper", WhisperEncoder, TextDecoder),
    }


def load_encoder_decoder(
    config: EncoderDecoderConfig, source: str, with_weights: bool
) -> EncoderDecoder:
    """The whole model, its parameters in fp32; without weights, of its description alone.

    `source` is a folder, a checkpoint of ours that describes one, or an id on the hub; of a checkpoint with
    adapters the weights are those beside which they stand. Raises UserError where transformers is not
    installed, the model is not there, its weights are pickles, or its family is unknown.
    """
    if find_spec("transformers") is None:
        raise UserError(
            f"model.pretrained '{source}': transformers is not installed",
            "pip install 'asr-ema[pretrained]'",
        )
    saved = Path(source) / FOLDER
    with base_of(saved) as base:
        named = base.source if base is not None else str(saved) if saved.is_dir() else source
        found = _made(config, source, named, with_weights)
    if config.lora is not None:
        sha256 = weights_sha256(found.encoder, found.decoder)
        if base is not None and sha256:  # of shapes alone there is none
            check_base(saved, base, sha256)
        _add_lora(found, config.lora, sha256)
    return found


def _made(
    config: EncoderDecoderConfig, source: str, named: str, with_weights: bool
) -> EncoderDecoder:
    """Its network is `named`'s, its tokenizer lies in `source`, or there, too."""
    import torch
    import transformers

    from asr.model.encoders.pretrained import loading

    with loading._quiet():
        settings = loading._read(source, lambda: loading._json(transformers.AutoConfig, named))
        family = families().get(settings.model_type)
        if family is None:
            known = "; ".join(f"{one.name} ({kind})" for kind, one in families().items())
            raise UserError(
                f"model.pretrained '{source}': model_type '{settings.model_type}' is no encoder-decoder here",
                f"take one of these: {known}",
            )
        extractor = loading._read(
            source, lambda: loading._json(transformers.AutoFeatureExtractor, named)
        )
        auto = transformers.AutoModelForSpeechSeq2Seq
        if with_weights:
            model = loading._with_weights(source, named, auto)
        else:
            model = auto.from_config(settings, dtype=torch.float32)
        defaults = _generation_settings(named)
    network = model.model
    encoder = family.encoder(network.encoder, settings, extractor)
    encoder.source = str(Path(named).resolve()) if Path(named).is_dir() else named
    if not with_weights and encoder.constants():
        loading._read_constants(source, Path(named), encoder)
    tokenizer = pretrained_tokenizer(source, Path(source))
    special = special_tokens(tokenizer, {**settings.to_dict(), **defaults}, config.language)
    ctc = AuxiliaryCtc(config.ctc_weight, tokenizer.decode) if config.ctc_weight else None
    decoder = family.decoder(network.decoder)
    found = EncoderDecoder(encoder, decoder, special, config.label_smoothing, ctc)
    found.generation_settings = defaults
    encoder.set_attention_dropout(config.attention_dropout)
    found.decoder.set_attention_dropout(config.attention_dropout)
    found.set_dropout(config.dropout, config.layer_drop)
    return found


def _add_lora(network: EncoderDecoder, lora: LoraConfig, sha256: str) -> None:
    """Adapters in encoder and decoder, beside weights of this hash."""
    encoder, decoder = network.encoder, network.decoder
    assert isinstance(encoder, PretrainedEncoder)
    add_lora(encoder, lora, sha256)
    inject(decoder, lora, lambda name: name.startswith("layers."), decoder.attention)
    decoder.constants.hold_all_but_adapters()


def _generation_settings(named: str) -> dict[str, Any]:
    """generation_config.json's, which win over config.json's; none where there is no such file."""
    from transformers import GenerationConfig

    try:
        settings = GenerationConfig.from_pretrained(named).to_dict()
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in settings.items() if value is not None}
