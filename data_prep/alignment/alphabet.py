"""A CTC model's outputs by what is heard: one class a letter or piece of a word, and one of all that is silent.

Capitals and small letters are one class; the blank, the space, punctuation and special tokens are class 0. So a
text needs neither the model's case nor its punctuation.

Shape suffixes: S encoder frames, V vocabulary, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from asr.model.frame_readers.letters import heard
from asr.model.frame_readers.reader import FrameReader

_LEAST_POSTERIOR = 1e-12


@dataclass
class Alphabet:
    """Of one model."""

    reader: FrameReader
    letters: list[str] = field(init=False)
    """(K,) of each class; none of the first."""

    def __post_init__(self) -> None:
        of_tokens = [self.reader.letters(token) for token in range(self.reader.vocabulary_size)]
        self.letters = ["", *sorted(set(of_tokens) - {""})]
        places = {letters: place for place, letters in enumerate(self.letters)}
        self._classes = [places[letters] for letters in of_tokens]
        self._known: dict[str, list[int] | None] = {}

    def folded(self, logits_SV: Tensor) -> Tensor:
        """Log-posteriors (S, K), fp32, of logits (S, V)."""
        posteriors_SV = logits_SV.float().softmax(-1)
        classes_V = torch.tensor(self._classes, device=posteriors_SV.device)
        folded_SK = torch.zeros(len(posteriors_SV), len(self.letters), device=posteriors_SV.device)
        folded_SK.index_add_(1, classes_V, posteriors_SV)
        return folded_SK.clamp(min=_LEAST_POSTERIOR).log().clamp(max=0).cpu()

    def spelt(self, word: str) -> list[int] | None:
        """Classes of a word; none of a dash, None where a character cannot be spelt."""
        if word not in self._known:
            self._known[word] = self._spelt(word)
        return self._known[word]

    def _spelt(self, word: str) -> list[int] | None:
        if not heard(word):
            return []
        tokens = self.reader.spelt(word)
        if tokens is None:
            return None
        return [self._classes[token] for token in tokens if self._classes[token]] or None
