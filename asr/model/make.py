"""A recipe's `model:` -> the network, with the weights that training begins with, or with none yet."""

from __future__ import annotations

from pathlib import Path

import torch

from asr.config.model import EncoderDecoderConfig, PretrainedConfig, TransformerConfig
from asr.config.schema import Config
from asr.errors import UserError
from asr.model.acoustic_model import AcousticModel
from asr.model.encoder_decoder.loading import load_encoder_decoder
from asr.model.encoder_decoder.windows import Windows
from asr.model.encoders.compiled import compile_layers
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.pretrained import PretrainedEncoder, load_encoder
from asr.model.encoders.pretrained.base import has_base
from asr.model.encoders.pretrained.encoder import FOLDER as DESCRIPTION
from asr.model.encoders.pretrained.lora import add_lora
from asr.model.encoders.transformer import TransformerEncoder
from asr.model.features import FeatureExtractor, FrontEnd, LogMel
from asr.model.latent.network import ByolModel, LatentModel
from asr.model.speech_model import SpeechModel


def make_model(
    config: Config, vocabulary_size: int, saved: Path | None = None, with_weights: bool = True
) -> SpeechModel:
    """The network of a recipe; `vocabulary_size` of its tokenizer, the blank included; of no texts it is 0.

    `with_weights`: those that it was pretrained with; else somebody will load others. `saved`: a checkpoint of
    ours that has what describes a pretrained model, which then need not be there any more. Raises
    UserError where it is missing or cannot be used.
    """
    found = _network(config, vocabulary_size, saved, with_weights)
    found.encoder.recomputes = config.trainer.activation_checkpointing
    return found


def make_trained_model(
    config: Config, vocabulary_size: int, saved: Path | None = None, with_weights: bool = True
) -> SpeechModel:
    """`make_model`'s network as training runs it: its layers compiled where the recipe asks for it."""
    found = make_model(config, vocabulary_size, saved, with_weights)
    if config.trainer.compile_layers:
        compile_layers(found.encoder)
    return found


def _network(
    config: Config, vocabulary_size: int, saved: Path | None, with_weights: bool
) -> SpeechModel:
    model = config.model
    if isinstance(model, TransformerConfig):
        encoder = TransformerEncoder(config.features.mel_bins, model)
        if config.objective.kind == "latent":
            return LatentModel(encoder)
        if config.objective.kind == "byol":
            return ByolModel(encoder, config.objective.byol)
        return AcousticModel(encoder, vocabulary_size)
    # Beside adapters the model's own weights are constants, which nobody loads later.
    with_weights = with_weights or (model.lora is not None and not is_of_shapes_alone())
    if isinstance(model, PretrainedConfig):
        source = described(saved, model.encoder)
        found = load_encoder(source, with_weights)
        if model.lora is not None:
            add_lora(found, model.lora)
        found.set_attention_dropout(model.attention_dropout)
        found.set_dropout(model.dropout, model.layer_drop)
        return AcousticModel(found, vocabulary_size)
    try:
        return load_encoder_decoder(model, described(saved, model.pretrained), with_weights)
    except UserError as error:  # of its encoder, which has no setting of its own
        what = error.what.replace("model.encoder", "model.pretrained")
        raise UserError(what, error.remedy) from None


def is_of_shapes_alone() -> bool:
    """Whether networks are made without memory, to be counted."""
    return torch.get_default_device().type == "meta"


def described(saved: Path | None, source: str) -> str:
    """Where a pretrained model is described: in a checkpoint of ours that does, or at its source.

    Raises UserError for a source that is a checkpoint of adapters: what it was trained to would be lost.
    """
    if saved is not None and (saved / DESCRIPTION).is_dir():
        return str(saved)
    if has_base(Path(source) / DESCRIPTION):
        raise UserError(
            f"model: '{source}' is a checkpoint of adapters, and no whole model",
            "name the model that they were trained beside, and the checkpoint as init_from",
        )
    return source


def make_front_end(config: Config, encoder: Encoder, *, reads: bool = False) -> FrontEnd:
    """What turns waveforms into what an encoder takes: the recipe's features, or a pretrained family's own.

    `reads`: for labels, evaluation and decoding, whose windows may be longer than those of training.
    Raises UserError where the recipe's audio has another rate.
    """
    if not isinstance(encoder, PretrainedEncoder):
        return LogMel(config.features)
    front_end = encoder.front_end()
    rate_hz = config.features.sample_rate_hz
    if front_end.sample_rate_hz != rate_hz:
        raise UserError(
            f"features.sample_rate_hz {rate_hz}: the pretrained model wants {front_end.sample_rate_hz} Hz",
            f"set it to {front_end.sample_rate_hz}, and prepare the audio at that rate",
        )
    if config.features.source == "precomputed":
        raise UserError(
            "features.source precomputed: a pretrained model computes features of its own",
            "set it to waveform",
        )
    if isinstance(config.model, EncoderDecoderConfig) and encoder.wants_silence:
        least = config.model.least_read_seconds if reads else config.model.least_seconds
        front_end = Windows(front_end, encoder.max_seconds, least)
    front_end.longest_seconds = encoder.max_seconds or 0.0
    return front_end


def make_extractors(
    config: Config, encoder: Encoder, device: torch.device
) -> tuple[FeatureExtractor, FeatureExtractor]:
    """What student and reader hear: for training, and for labels and evaluation.

    Raises UserError as `make_front_end` and `check_lengths` do.
    """
    is_stored = config.features.source == "precomputed"
    training, reading = (make_front_end(config, encoder, reads=reads) for reads in (False, True))
    check_lengths(config, training)
    return (
        FeatureExtractor(training, is_stored, device),
        FeatureExtractor(reading, is_stored, device),
    )


def check_lengths(config: Config, front_end: FrontEnd) -> None:
    """Raises UserError where training would meet utterances that are too long for the model."""
    most, slowest = front_end.longest_seconds, min(config.augmentation.speed_factors)
    if most and config.corpus.max_seconds / slowest > most:
        raise UserError(
            f"corpus.max_seconds {config.corpus.max_seconds:g}: the pretrained model hears at most {most:g} s, "
            f"and augmentation.speed_factors make speech {1 / slowest:.3g} times as long",
            f"set it to {most * slowest:.4g}",
        )
