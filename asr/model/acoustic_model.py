"""The acoustic model: an encoder and a CTC head.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width,
V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from asr.config.schema import Config
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.transformer import TransformerEncoder

Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(features (B, T, F), lengths (B,)) -> (logits (B, S, V), lengths (B,))"""


class AcousticModel(nn.Module):
    """Speech -> CTC logits; `vocabulary_size` is V, the blank (index 0) included."""

    def __init__(self, encoder: Encoder, vocabulary_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, vocabulary_size)

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, S, V) and their lengths (B,) in encoder frames; arguments as `Encoder.forward`'s."""
        hidden_BSD, lengths_B = self.encoder(features_BTF, lengths_B, kept_BL, reach)
        return self.head(hidden_BSD), lengths_B

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) as files have them: the encoder's own names, and the head's behind `head.`."""
        yield from self.encoder.named_parameters()
        yield from self.head.named_parameters(prefix="head")

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put whole tensors in, by the names of `named_weights`.

        Raises RuntimeError where a name or a shape is another.
        """
        head = {n.removeprefix("head."): w for n, w in weights.items() if n.startswith("head.")}
        encoder = {n: w for n, w in weights.items() if not n.startswith("head.")}
        self.encoder.load_state_dict(encoder)
        self.head.load_state_dict(head)


def make_model(config: Config, vocabulary_size: int) -> AcousticModel:
    """The model that a recipe describes, its weights as they are before training."""
    encoder = TransformerEncoder(config.features.mel_bins, config.model)
    return AcousticModel(encoder, vocabulary_size)
