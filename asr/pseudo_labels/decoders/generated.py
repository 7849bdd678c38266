"""Labels that an encoder-decoder writes, token by token.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from asr.config.schema import Config
from asr.decoding.generation import Generated, generate, score
from asr.decoding.generation_beam import generate_beam
from asr.decoding.reading import Reading
from asr.decoding.safeguards import most_tokens_of
from asr.errors import UserError
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer
from asr.pseudo_labels.decoders.decoder import LabelDecoder, LabelRequest
from asr.pseudo_labels.filters import Dropped
from asr.pseudo_labels.label import Label, LabelMetrics


class GeneratedDecoder(LabelDecoder):
    """The likeliest token, and so on to the end: greedy generation."""

    def labels(
        self, network: SpeechModel, features_BTF: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[Label]:
        assert isinstance(network, EncoderDecoder)
        rate = self.config.pseudo_label.max_generated_tokens_per_second
        limits = [most_tokens_of(segment.seconds, rate) for segment in request.segments]
        written = self._written(network, (features_BTF, lengths_B), limits)
        return [self._label(one) for one in written]

    def _written(
        self, network: EncoderDecoder, features: tuple[Tensor, Tensor], limits: list[int]
    ) -> list[Generated]:
        return generate(network, *features, limits)

    def of_reading(self, found: Reading, request: LabelRequest) -> list[Label]:
        return [self._label(written) for written in found.written]

    def _label(self, written: Generated) -> Label:
        label = _label(written)
        if self.config.pseudo_label.token_weights == "none":
            return label
        sure = np.exp(np.asarray(written.log_probabilities, np.float32))
        return replace(label, confidences=sure.tolist())

    def tokens(
        self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[list[int]]:
        raise AssertionError("an encoder-decoder is not read frame by frame")


class GeneratedBeam(GeneratedDecoder):
    """The best text of a beam search; dev sets are read greedily, and say nothing of it."""

    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        if config.pseudo_label.beam.language_model is not None:
            raise UserError(
                f"pseudo_label.beam.language_model {config.pseudo_label.beam.language_model}: an "
                "encoder-decoder is its own language model",
                "set it to null",
            )

    @property
    def stamp(self) -> Mapping[str, Any]:
        return {**super().stamp, "beam_size": self.config.pseudo_label.beam.beam_size}

    def _written(
        self, network: EncoderDecoder, features: tuple[Tensor, Tensor], limits: list[int]
    ) -> list[Generated]:
        return generate_beam(network, *features, self.config.pseudo_label.beam.beam_size, limits)


class GeneratedOracle(GeneratedDecoder):
    """The reference, with the model's confidence in it."""

    def labels(
        self, network: SpeechModel, features_BTF: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[Label]:
        assert isinstance(network, EncoderDecoder)
        most_tokens = network.criterion.most_tokens
        texts = [self.tokenizer.encode(reference) for reference in request.references]
        # One that is too long is judged by what fits, and left out whole where it is used.
        fitting = [text[:most_tokens] for text in texts]
        scored = score(network, features_BTF, lengths_B, fitting)
        return [
            replace(self._label(one), tokens=text) for one, text in zip(scored, texts, strict=True)
        ]


def _label(written: Generated) -> Label:
    metrics = LabelMetrics(
        confidence=written.confidence,
        blank_share=0.0,
        entropy=written.entropy,
        confidence_measure="likelihood",
        no_speech_probability=written.no_speech_probability,
        ctc_score=written.ctc_score,
    )
    dropped = None if written.is_finished else Dropped.UNFINISHED
    return Label(written.tokens, metrics, dropped=dropped)
