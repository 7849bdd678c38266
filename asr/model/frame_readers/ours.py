"""A CTC model of ours, or an encoder-decoder's CTC head, as a frame reader.

Shape suffixes: B utterances, N samples, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from asr.errors import UserError
from asr.model.encoder_decoder.ctc_head import OUTPUTS, spelt_word
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.frame_readers.letters import forms, letters_of
from asr.model.loaded_model import LoadedModel
from asr.model.tokenizer import BLANK
from asr.utils.devices import sent

_LONGEST_SECONDS = 28.0
_FIRST_LETTER = 0x4E00
"""A byte's letter: it is compared with others of its kind alone."""


class OurFrames:
    """A CTC model."""

    def __init__(self, model: LoadedModel, weights: str) -> None:
        self.model = model
        self.sample_rate_hz = model.front_end.sample_rate_hz
        self.frame_samples = model.frame_samples
        self.longest_seconds = min(
            model.front_end.longest_seconds or _LONGEST_SECONDS, model.config.corpus.max_seconds
        )
        self.vocabulary_size = model.tokenizer.vocabulary_size
        self.stamp: Mapping[str, Any] = {
            "kind": "asr",
            "weights": weights,
            "weights_sha256": model.weights_sha256,
        }

    def logits(self, waveform_N: Tensor) -> Tensor:
        # As a piece of a recording: attention over more seconds than utterances have was never learnt.
        piece = self.model.front_end.survey([waveform_N])
        samples_1 = torch.tensor([len(waveform_N)])
        logits_1SV, frames_1 = self.model.logits(waveform_N[None], samples_1, piece)
        return logits_1SV[0, : int(frames_1[0])].float()

    def letters(self, token: int) -> str:
        return "" if token == BLANK else letters_of(self.model.tokenizer.piece(token))

    def spelt(self, word: str) -> list[int] | None:
        for form in forms(word):
            try:
                return self.model.tokenizer.encode(form)
            except UserError:
                continue
        return None


class OurHeadFrames(OurFrames):
    """The CTC head of an encoder-decoder (`model.ctc_weight`), which spells bytes."""

    def __init__(self, model: LoadedModel, network: EncoderDecoder, weights: str) -> None:
        """Raises UserError for a model without the head."""
        super().__init__(model, weights)
        if network.ctc_head is None:
            raise UserError(
                f"{model.checkpoint}: an encoder-decoder without a CTC head has no times",
                "name a CTC model, or an encoder-decoder that was trained with model.ctc_weight",
            )
        self.network, self.head = network, network.ctc_head
        self.longest_seconds = min(model.front_end.longest_seconds or 30.0, _LONGEST_SECONDS)
        self.vocabulary_size = OUTPUTS

    @torch.inference_mode()
    def logits(self, waveform_N: Tensor) -> Tensor:
        device = self.model.device
        features_BTF, lengths_B = self.model.front_end(
            sent(waveform_N[None], device), torch.tensor([len(waveform_N)])
        )
        heard_BSD, frames_B = self.network.encoder(features_BTF.to(self.network.dtype), lengths_B)
        frames = min(int(frames_B[0]), -(-len(waveform_N) // self.frame_samples))
        found: Tensor = self.head(heard_BSD)[0, :frames].float()
        return found

    def letters(self, token: int) -> str:
        byte = token - 1
        is_heard = byte >= 0x80 or chr(max(0, byte)).isalnum()
        return chr(_FIRST_LETTER + byte) if byte >= 0 and is_heard else ""

    def spelt(self, word: str) -> list[int] | None:
        return spelt_word(word)
