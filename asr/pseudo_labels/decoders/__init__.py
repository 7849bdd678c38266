"""Decisions: what a teacher makes of an utterance -> its label, by the name that a recipe gives."""

from __future__ import annotations

from asr.config.model import EncoderDecoderConfig
from asr.config.schema import Config
from asr.errors import UserError
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.decoders.decoder import LabelDecoder, LabelRequest
from asr.pseudo_labels.decoders.frame_wise import (
    BeamSearchDecoder,
    GreedyDecoder,
    OracleDecoder,
    SamplingDecoder,
)
from asr.pseudo_labels.decoders.generated import GeneratedBeam, GeneratedDecoder, GeneratedOracle
from asr.utils.plugins import find_class

__all__ = ["GeneratedOracle", "LabelDecoder", "LabelRequest", "OracleDecoder", "make_label_decoder"]

_OF_FRAMES: dict[str, type[LabelDecoder]] = {
    "greedy": GreedyDecoder,
    "sample": SamplingDecoder,
    "beam": BeamSearchDecoder,
    "oracle": OracleDecoder,
}
_GENERATED: dict[str, type[LabelDecoder]] = {
    "greedy": GeneratedDecoder,
    "beam": GeneratedBeam,
    "oracle": GeneratedOracle,
}


def label_decoder_class(config: Config) -> type[LabelDecoder]:
    """What `pseudo_label.decision` names. Raises UserError if it cannot be had."""
    name, is_generated = (
        config.pseudo_label.decision,
        isinstance(config.model, EncoderDecoderConfig),
    )
    ours = _GENERATED if is_generated else _OF_FRAMES
    if is_generated and name in _OF_FRAMES and name not in ours:
        raise UserError(
            f"pseudo_label.decision {name}: an encoder-decoder cannot label so",
            f"choose {', '.join(ours)}",
        )
    return find_class("pseudo_label.decision", name, ours, LabelDecoder)


def make_label_decoder(config: Config, tokenizer: Tokenizer) -> LabelDecoder:
    """One of it. Raises UserError where the search lacks its packages or its language model."""
    return label_decoder_class(config)(config, tokenizer)
