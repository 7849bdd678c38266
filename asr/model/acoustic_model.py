"""The acoustic model: an encoder and a CTC head.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width,
V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from asr.model.criterion import Ctc, Tokens
from asr.model.encoders.encoder import Encoder
from asr.model.speech_model import SpeechModel


class AcousticModel(SpeechModel):
    """Speech -> CTC logits; `vocabulary_size` is V, the blank (index 0) included."""

    def __init__(self, encoder: Encoder, vocabulary_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, vocabulary_size)
        self.criterion = Ctc()

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        tokens: Tokens | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, S, V) and their lengths (B,) in encoder frames."""
        hidden_BSD, lengths_B = self.encoder(features_BTF, lengths_B, kept_BL, reach)
        return self.head(hidden_BSD), lengths_B

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """The encoder's own names, and the head's behind `head.`."""
        yield "", self.encoder
        yield "head", self.head
