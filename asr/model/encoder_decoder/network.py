"""A pretrained encoder-decoder as the student: Whisper and its kin.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width,
U places of tokens, V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr.model.criterion import CrossEntropy, Tokens
from asr.model.dropout import current_draws, drawn_by
from asr.model.encoder_decoder.ctc_head import OUTPUTS, PREFIX, AuxiliaryCtc
from asr.model.encoder_decoder.text_decoder import TextDecoder
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.pretrained.encoder import FOLDER as DESCRIPTION
from asr.model.encoders.pretrained.encoder import our_dropout
from asr.model.speech_model import SpeechModel
from asr.utils.devices import sent
from asr.utils.files import write_json


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that are no text."""

    prompt: tuple[int, ...]
    """Before every text: the start, the language and the task where there are several, no timestamps."""
    end: int
    no_speech: int | None
    """Whose probability in the first place is that of an utterance without speech; None where there is none."""
    suppressed: tuple[int, ...]
    """Never said."""
    suppressed_first: tuple[int, ...]
    """Never said as the first of a text."""


class EncoderDecoder(SpeechModel):
    """Speech and a text's beginning -> logits of what follows it."""

    criterion: CrossEntropy
    is_read_in_steps = True

    def __init__(
        self,
        encoder: Encoder,
        decoder: TextDecoder,
        special: SpecialTokens,
        label_smoothing: float = 0.0,
        ctc: AuxiliaryCtc | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.special = encoder, decoder, special
        self.generation_settings: dict[str, Any] = {}
        """Of the model's generation_config.json."""
        most_tokens = decoder.places - len(
            special.prompt
        )  # the end needs no place: nothing follows
        self.criterion = CrossEntropy(special.end, most_tokens, label_smoothing, ctc)
        self.ctc_head = nn.Linear(encoder.width, OUTPUTS) if ctc is not None else None

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        tokens: Tokens | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, ...]:
        """Logits (B, U, V) of each text's tokens and its end, and how many of these (B,) an utterance has.

        Without `tokens`, those of the first one after the prompt. With a CTC head, as it trains, also that
        one's logits (B, S, 257) and frames (B,).
        """
        texts = [[] for _ in lengths_B] if tokens is None else tokens
        heard_BSD, frames_B = self.encoder(features_BTF, lengths_B, kept_BL, reach)
        logits_BUV, counts_B = self.read(heard_BSD, frames_B, texts)
        if self.ctc_head is None or not self.training:
            return logits_BUV, counts_B
        return logits_BUV, counts_B, self.ctc_head(heard_BSD), frames_B

    def read(self, heard_BSD: Tensor, frames_B: Tensor, texts: Tokens) -> tuple[Tensor, Tensor]:
        """By the encoder's hidden states and their frames: `forward`'s logits and counts."""
        tokens_BU = self._spoken(texts, heard_BSD.device)
        draws = current_draws()
        if draws is not None:
            draws = replace(draws, frames=[len(self.special.prompt) + len(text) for text in texts])
        with drawn_by(draws), our_dropout(self, heard_BSD.device):
            logits_BUV = self.decoder(tokens_BU, heard_BSD, frames_B)
        counts_B = sent(torch.tensor([len(text) + 1 for text in texts]), heard_BSD.device)
        return logits_BUV[:, len(self.special.prompt) - 1 :], counts_B

    def _spoken(self, texts: Tokens, device: torch.device) -> Tensor:
        """The prompt and each text (B, U); the end where nothing follows."""
        longest = max((len(text) for text in texts), default=0)
        rows = [
            [*self.special.prompt, *text, *[self.special.end] * (longest - len(text))]
            for text in texts
        ]
        return sent(torch.tensor(rows, dtype=torch.long), device)

    @property
    def has_times(self) -> bool:
        return self.ctc_head is not None

    def set_dropout(self, dropout: float, layer_drop: float) -> None:
        self.encoder.set_dropout(dropout, layer_drop)
        self.decoder.set_dropout(dropout)

    def save_description(self, folder: Path) -> None:
        super().save_description(folder)
        if self.generation_settings:
            write_json(folder / DESCRIPTION / "generation_config.json", self.generation_settings)

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """As transformers names them: `encoder.` and `decoder.`; and `ctc_head.`."""
        yield "encoder", self.encoder
        yield "decoder", self.decoder
        if self.ctc_head is not None:
            yield PREFIX, self.ctc_head
