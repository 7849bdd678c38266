"""What turns untranscribed speech into labels, by a network that labels.

A decision sees one utterance at a time, so a label does not depend on the batch or on the ranks.

Shape suffixes: B utterances, T input frames, F features of a frame, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from asr.config.schema import Config
from asr.decoding.reading import Reading
from asr.model.ctc import collapsed
from asr.model.features import frame_mask
from asr.model.speech_model import SpeechModel
from asr.model.tokenizer import BLANK, Tokenizer
from asr.pseudo_labels.filters import Dropped
from asr.pseudo_labels.label import Label, label_metrics
from asr.utils.devices import fetched

if TYPE_CHECKING:
    from asr.data.segments import Segment


@dataclass(frozen=True)
class LabelRequest:
    """Which utterances are to be labelled, and when."""

    segments: Sequence[Segment]
    references: Sequence[str]
    """Empty where they are not known."""
    hours: float
    """Of audio, by the clock."""


class LabelDecoder(ABC):
    """Logits (B, S, V) and lengths (B,) -> a label for each utterance."""

    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        """Raises UserError for what the user can fix, before training begins."""
        self.config, self.tokenizer = config, tokenizer

    @abstractmethod
    def tokens(
        self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[list[int]]:
        """Of each utterance, without blanks."""

    def takes_best_path(self, hours: float) -> bool:
        """Whether `tokens` are the best path's, which are read anyway."""
        return False

    def temperature(self, hours: float) -> float | None:
        """Of the distribution whose entropy the ledger shows; None for entropy 0."""
        return 1.0

    @property
    def stamp(self) -> Mapping[str, Any]:
        """What the labels depend on besides the teacher: noted where it changes in mid-run."""
        policy = self.config.pseudo_label
        return {"decoder": policy.decision, **policy.options}

    def labels(
        self, network: SpeechModel, features_BTF: Tensor, lengths_B: Tensor, request: LabelRequest
    ) -> list[Label]:
        """Of each utterance by a network in evaluation mode, and features as it wants them."""
        logits_BSV, lengths_B = network(features_BTF, lengths_B)
        is_sound_B = _are_finite(logits_BSV, lengths_B)
        made = self._made(_blank_where_not(is_sound_B, logits_BSV), lengths_B, request, is_sound_B)
        # Said here, since it is no silence that was heard.
        return [
            label if is_sound or label.tokens else replace(label, dropped=Dropped.EMPTY)
            for label, is_sound in made
        ]

    def of_reading(self, found: Reading, request: LabelRequest) -> list[Label]:
        """Of what was read anyway, on a dev set."""
        assert found.frames is not None
        return self(*found.frames, request)

    def __call__(self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest) -> list[Label]:
        all_B = torch.ones(len(lengths_B), dtype=torch.bool)
        return [label for label, _ in self._made(logits_BSV, lengths_B, request, all_B)]

    def _made(
        self, logits_BSV: Tensor, lengths_B: Tensor, request: LabelRequest, notes_B: Tensor
    ) -> list[tuple[Label, bool]]:
        """Each label, and what `notes_B` says of its utterance. Two waits for the device, by greedy labels."""
        paths_BS, host_lengths_B, notes_B = fetched(logits_BSV.argmax(dim=-1), lengths_B, notes_B)
        if self.takes_best_path(request.hours):
            decided = collapsed(paths_BS, host_lengths_B)
        else:
            decided = self.tokens(logits_BSV, lengths_B, request)
        measure = self.config.pseudo_label.filters.confidence
        temperature = self.temperature(request.hours)
        metrics = label_metrics(
            logits_BSV, lengths_B, decided, measure, temperature, host_lengths_B
        )
        labels = [Label(*label) for label in zip(decided, metrics, strict=True)]
        return list(zip(labels, notes_B.tolist(), strict=True))


def _are_finite(logits_BSV: Tensor, lengths_B: Tensor) -> Tensor:
    is_padding_BS = ~frame_mask(lengths_B, logits_BSV.shape[1])
    return (logits_BSV.isfinite().all(dim=-1) | is_padding_BS).all(dim=-1)


def _blank_where_not(is_sound_B: Tensor, logits_BSV: Tensor) -> Tensor:
    """An utterance of which the teacher makes NaN or infinity says nothing: its label is empty."""
    outputs = torch.arange(logits_BSV.shape[2], device=logits_BSV.device)
    silence_V = 100.0 * (outputs == BLANK).to(logits_BSV.dtype)
    return torch.where(is_sound_B[:, None, None], logits_BSV, silence_V)
