"""A CTC head on the encoder of a model that has a decoder: what it spells, and how surely it reads a text.

It spells what is heard of a text: bytes of its letters and digits in small letters, with a space between words.
Bytes and not the decoder's tokens: 257 outputs instead of Whisper's 51,865, at 50 frames a second, for every
language and without a setting; and a word's sounds are spread over several tokens of the path, so that its time
is that of its first and its last.

Shape suffixes: B utterances, S encoder frames, V the head's outputs.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from asr.model.ctc import ctc_losses, is_feasible
from asr.utils.devices import fetched

OUTPUTS = 1 + 256
"""The blank, and the bytes."""
PREFIX = "ctc_head"
"""Of its weights' names."""
BOUNDARY = 1 + ord(" ")


def spelt_word(word: str) -> list[int]:
    """Its letters (with their marks) and digits as the head's tokens; none of a dash, which is not heard."""
    folded = unicodedata.normalize("NFKC", word.casefold())
    heard = "".join(one for one in folded if unicodedata.category(one)[0] in "LMN")
    return [1 + byte for byte in heard.encode()]


def spelt(text: str) -> list[int]:
    """A text as the head's tokens."""
    found: list[int] = []
    for word in filter(None, map(spelt_word, text.split())):
        found += [BOUNDARY, *word] if found else word
    return found


@dataclass(frozen=True)
class AuxiliaryCtc:
    """CTC beside cross-entropy (Kim, Hori & Watanabe 2017, arXiv 1609.06773): a share of the loss."""

    weight: float
    """w of (1 - w) cross-entropy + w CTC."""
    decode: Callable[[Sequence[int]], str]
    """The decoder's tokens -> their text."""

    def can_emit(self, tokens: Sequence[int], frames: int) -> bool:
        """Whether a text has room in so many encoder frames."""
        return is_feasible(spelt(self.decode(tokens)), frames)

    def losses(
        self, logits_BSV: Tensor, frames_B: Tensor, tokens: Sequence[Sequence[int]]
    ) -> Tensor:
        """Loss (B,) of each text, in nats, fp32."""
        return ctc_losses(logits_BSV, frames_B, [spelt(self.decode(one)) for one in tokens])

    def scores(
        self, logits_BSV: Tensor, frames_B: Tensor, tokens: Sequence[Sequence[int]]
    ) -> list[float]:
        """From 0 to 1: CTC's probability of each text, to the power of one over its letters.

        0 where it needs more frames than there are, or logits are NaN.
        """
        lengths = [max(1, len(spelt(self.decode(one)))) for one in tokens]
        [losses_B] = fetched(self.losses(logits_BSV, frames_B, tokens))
        losses = losses_B.tolist()
        found = [math.exp(-loss / length) for loss, length in zip(losses, lengths, strict=True)]
        return [0.0 if math.isnan(one) else one for one in found]
