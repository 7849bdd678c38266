"""A frozen encoder with a linear layer for CTC on what it, or one of its blocks, says.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, D model width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor, nn

from asr.errors import UserError
from asr.model.criterion import Ctc, Tokens
from asr.model.encoders.encoder import Encoder
from asr.model.encoders.outputs import outputs_into
from asr.model.loaded_model import LoadedModel
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import Tokenizer


class ProbedModel(SpeechModel):
    """Speech -> what `head` makes of the encoder's frames: without a head the frames (B, S, D) themselves."""

    def __init__(
        self, encoder: Encoder, block: int | None = None, head: nn.Module | None = None
    ) -> None:
        """`block`: whose output is taken, counted from 1; None for the encoder's own."""
        super().__init__()
        self.encoder, self.block, self.head = encoder, block, head or nn.Identity()
        self.criterion = Ctc()

    def forward(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        kept_BL: Tensor | None = None,
        tokens: Tokens | None = None,
        reach: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, S, V), or frames (B, S, D), and their lengths (B,). Raises UserError without the block."""
        blocks = deque[Tensor]()
        with outputs_into(blocks):
            hidden_BSD, lengths_B = self.encoder(features_BTF, lengths_B, kept_BL, reach)
        if self.block is not None:
            if self.block > len(blocks):
                raise UserError(
                    f"--block {self.block}: the encoder has {len(blocks)} that can be heard by themselves",
                    f"name one of 1 to {len(blocks)}" if blocks else "leave it out",
                )
            hidden_BSD = blocks[self.block - 1]
        return self.head(hidden_BSD), lengths_B

    def parts(self) -> Iterator[tuple[str, nn.Module]]:
        """The encoder's own names, and the head's behind `head.`."""
        yield "", self.encoder
        yield "head", self.head


def probed(model: LoadedModel, block: int | None) -> LoadedModel:
    """A trained model as its frames. Raises UserError for one that is not heard frame by frame."""
    if model.network.is_read_in_steps:
        raise UserError(
            f"{model.checkpoint}: an encoder-decoder, whose encoder hears windows and not utterances",
            "name a run of model.kind transformer or pretrained",
        )
    return replace(model, network=ProbedModel(model.network.encoder, block).eval())


def with_head(frames: LoadedModel, head: nn.Module, tokenizer: Tokenizer) -> LoadedModel:
    """What `probed` gave, as a model that writes texts."""
    network = frames.network
    assert isinstance(network, ProbedModel)
    whole = ProbedModel(network.encoder, network.block, head.to(frames.device)).eval()
    return replace(frames, network=whole, tokenizer=tokenizer)
