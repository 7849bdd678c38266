"""What a model's output is compared with tokens by: CTC, or cross-entropy on a decoder's next tokens.

Shape suffixes: B utterances, S encoder frames or places of tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from asr.model.ctc import collapse, ctc_losses, is_feasible
from asr.model.encoder_decoder.ctc_head import AuxiliaryCtc
from asr.model.tokenizer import BLANK
from asr.utils.devices import sent

Tokens = Sequence[Sequence[int]]
"""Ids of each utterance's text, without blanks, and without a decoder's special tokens."""
TokenWeights = Sequence[Sequence[float] | None]
"""Of each utterance: of its text's tokens and its end in the loss; None where all count alike."""


class Output(NamedTuple):
    """What a student says of a batch as it trains."""

    logits_BSV: Tensor
    lengths_B: Tensor
    ctc_BSV: Tensor | None = None
    """Logits of a CTC head beside the decoder, and their frames; None where there is no such head."""
    frames_B: Tensor | None = None

    def nothing(self) -> Tensor:
        """0, with a graph that reaches every weight."""
        zero = self.logits_BSV.float().sum() * 0.0
        return zero if self.ctc_BSV is None else zero + self.ctc_BSV.float().sum() * 0.0


class Said(NamedTuple):
    """What a model would have said of an utterance."""

    tokens: list[int]
    blank_frames: int = 0
    frames: int = 0
    """Of CTC; 0 where there is no blank."""


class Criterion(ABC):
    """A model's output (B, S, V) with its lengths (B,), and tokens -> losses."""

    @abstractmethod
    def can_emit(self, tokens: Sequence[int], frames: int) -> bool:
        """Whether the model can say `tokens` of an utterance of so many encoder frames at all."""

    @abstractmethod
    def losses(self, logits_BSV: Tensor, lengths_B: Tensor, tokens: Tokens) -> Tensor:
        """Loss (B,) of each utterance, summed over its text, in nats, fp32."""

    def training_losses(
        self,
        output: Output,
        tokens: Tokens,
        frames: Sequence[int],
        weights: TokenWeights | None = None,
    ) -> Tensor:
        """The same as it is trained on (B,), with what else a student is trained by.

        `frames` are the utterances' encoder frames; `weights` are for a model that reads token by token.
        """
        return self.losses(output.logits_BSV, torch.tensor(frames), tokens)

    @abstractmethod
    def said(self, best_BS: Tensor, frames: Sequence[int], tokens: Tokens) -> list[Said]:
        """What the model itself would have said, of the best token of each place, on the CPU.

        `frames` are the utterances' encoder frames, `tokens` what they were scored by.
        """


class Ctc(Criterion):
    """CTC (Graves et al. 2006)."""

    def can_emit(self, tokens: Sequence[int], frames: int) -> bool:
        return is_feasible(tokens, frames)

    def losses(self, logits_BSV: Tensor, lengths_B: Tensor, tokens: Tokens) -> Tensor:
        return ctc_losses(logits_BSV, lengths_B, tokens)

    def said(self, best_BS: Tensor, frames: Sequence[int], tokens: Tokens) -> list[Said]:
        paths = [path_S[:count] for path_S, count in zip(best_BS, frames, strict=True)]
        return [Said(collapse(one_S), int((one_S == BLANK).sum()), len(one_S)) for one_S in paths]


@dataclass(frozen=True)
class CrossEntropy(Criterion):
    """Cross-entropy of a text's tokens and its end, each after those before it; with label smoothing.

    In training with a share of CTC, where the model has a head for it.

    Its logits are those of the text alone: of each token and of the end, `lengths` places an utterance.
    """

    end: int
    """The token that ends a text."""
    most_tokens: int
    """Of a text, that the decoder has places for."""
    label_smoothing: float = 0.0
    """Share of the probability that is spread over all tokens (Szegedy et al. 2016, section 7)."""
    ctc: AuxiliaryCtc | None = None

    def can_emit(self, tokens: Sequence[int], frames: int) -> bool:
        has_room = self.ctc is None or self.ctc.can_emit(tokens, frames)
        return frames > 0 and len(tokens) <= self.most_tokens and has_room

    def losses(self, logits_BSV: Tensor, lengths_B: Tensor, tokens: Tokens) -> Tensor:
        return self._of_places(logits_BSV, tokens).sum(dim=1)

    def training_losses(
        self,
        output: Output,
        tokens: Tokens,
        frames: Sequence[int],
        weights: TokenWeights | None = None,
    ) -> Tensor:
        losses_BS = self._of_places(output.logits_BSV, tokens)
        if weights is not None and any(own is not None for own in weights):
            losses_BS = losses_BS * _as_factors(weights, losses_BS)
        losses_B = losses_BS.sum(dim=1)
        if self.ctc is None:
            return losses_B
        assert output.ctc_BSV is not None
        ctc_B = self.ctc.losses(output.ctc_BSV, torch.tensor(frames), tokens)
        return (1.0 - self.ctc.weight) * losses_B + self.ctc.weight * ctc_B

    def _of_places(self, logits_BSV: Tensor, tokens: Tokens) -> Tensor:
        """Loss (B, S) of each place of a text, 0 behind its end."""
        targets_BS = self._targets(tokens, logits_BSV)
        return functional.cross_entropy(
            logits_BSV.float().transpose(1, 2),
            targets_BS,
            ignore_index=-1,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )

    def said(self, best_BS: Tensor, frames: Sequence[int], tokens: Tokens) -> list[Said]:
        """Each token after the right ones before it, as in training."""
        return [
            Said([t for t in best_S[: len(own) + 1].tolist() if t != self.end])
            for best_S, own in zip(best_BS, tokens, strict=True)
        ]

    def _targets(self, tokens: Tokens, logits_BSV: Tensor) -> Tensor:
        targets_BS = torch.full(logits_BSV.shape[:2], -1)
        for row_S, own in zip(targets_BS, tokens, strict=True):
            row_S[: len(own) + 1] = torch.tensor([*own, self.end])
        return sent(targets_BS, logits_BSV.device)


def _as_factors(weights: TokenWeights, losses_BS: Tensor) -> Tensor:
    """(B, S); 1 where a text has none."""
    factors_BS = torch.ones(losses_BS.shape)
    for row_S, own in zip(factors_BS, weights, strict=True):
        if own is not None:
            row_S[: len(own)] = torch.tensor(own)
    return sent(factors_BS, losses_BS.device)
