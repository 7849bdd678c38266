"""What a model's output is compared with tokens by: CTC, or cross-entropy on a decoder's next tokens.

Shape suffixes: B utterances, S encoder frames or places of tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from asr.model.ctc import best_paths, ctc_losses, is_feasible
from asr.model.features import frame_mask
from asr.model.tokenizer import BLANK

Tokens = Sequence[Sequence[int]]
"""Ids of each utterance's text, without blanks, and without a decoder's special tokens."""


class Criterion(ABC):
    """A model's output (B, S, V) with its lengths (B,), and tokens -> losses."""

    @abstractmethod
    def can_emit(self, tokens: Sequence[int], frames: int) -> bool:
        """Whether the model can say `tokens` of an utterance of so many encoder frames at all."""

    @abstractmethod
    def losses(self, logits_BSV: Tensor, lengths_B: Tensor, tokens: Tokens) -> Tensor:
        """Loss (B,) of each utterance, summed over its text, in nats, fp32."""

    @abstractmethod
    def best_tokens(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[list[int]]:
        """What the model itself would have said."""

    def blanks(self, logits_BSV: Tensor, lengths_B: Tensor) -> tuple[int, int]:
        """(frames whose best token is the blank, all frames); (0, 0) where there is no blank."""
        return 0, 0


class Ctc(Criterion):
    """CTC (Graves et al. 2006)."""

    def blanks(self, logits_BSV: Tensor, lengths_B: Tensor) -> tuple[int, int]:
        is_inside_BS = frame_mask(lengths_B, logits_BSV.shape[1])
        is_blank_BS = (logits_BSV.argmax(dim=-1) == BLANK) & is_inside_BS
        return int(is_blank_BS.sum()), int(is_inside_BS.sum())

    def can_emit(self, tokens: Sequence[int], frames: int) -> bool:
        return is_feasible(tokens, frames)

    def losses(self, logits_BSV: Tensor, lengths_B: Tensor, tokens: Tokens) -> Tensor:
        return ctc_losses(logits_BSV, lengths_B, tokens)

    def best_tokens(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[list[int]]:
        return best_paths(logits_BSV, lengths_B)


@dataclass(frozen=True)
class CrossEntropy(Criterion):
    """Cross-entropy of a text's tokens and its end, each after those before it; with label smoothing.

    Its logits are those of the text alone: of each token and of the end, `lengths` places an utterance.
    """

    end: int
    """The token that ends a text."""
    most_tokens: int
    """Of a text, that the decoder has places for."""
    label_smoothing: float = 0.0
    """Share of the probability that is spread over all tokens (Szegedy et al. 2016, section 7)."""

    def can_emit(self, tokens: Sequence[int], frames: int) -> bool:
        return frames > 0 and len(tokens) <= self.most_tokens

    def losses(self, logits_BSV: Tensor, lengths_B: Tensor, tokens: Tokens) -> Tensor:
        targets_BS = self._targets(tokens, logits_BSV)
        losses_BS = functional.cross_entropy(
            logits_BSV.float().transpose(1, 2),
            targets_BS,
            ignore_index=-1,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return losses_BS.sum(dim=1)

    def best_tokens(self, logits_BSV: Tensor, lengths_B: Tensor) -> list[list[int]]:
        """Each after the right ones before it, as in training."""
        best_BS = logits_BSV.argmax(dim=-1).cpu()
        return [
            [t for t in best_S[:places].tolist() if t != self.end]
            for best_S, places in zip(best_BS, lengths_B.tolist(), strict=True)
        ]

    def _targets(self, tokens: Tokens, logits_BSV: Tensor) -> Tensor:
        targets_BS = torch.full(logits_BSV.shape[:2], -1, device=logits_BSV.device)
        for row_S, own in zip(targets_BS, tokens, strict=True):
            row_S[: len(own) + 1] = torch.tensor([*own, self.end], device=logits_BSV.device)
        return targets_BS
