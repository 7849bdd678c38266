"""Greedy CTC: best token of each frame, merge repeats, then drop blanks.

Shape suffixes: B utterances, S encoder frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from asr.model.ctc import collapse
from asr.utils.devices import fetched


@dataclass(frozen=True)
class Hypothesis:
    """What was recognised."""

    tokens: list[int]
    confidence: float
    """Of the greedy path: the mean over the frames of the posterior of the best token; 0 without frames."""


def greedy(logits_BSV: Tensor, lengths_B: Tensor) -> list[Hypothesis]:
    """The greedy CTC path of each utterance; logits (B, S, V), lengths (B,) in encoder frames."""
    posteriors_BS, paths_BS = logits_BSV.float().softmax(dim=-1).max(dim=-1)
    hypotheses = []
    paths_BS, posteriors_BS, lengths_B = fetched(paths_BS, posteriors_BS, lengths_B)
    for path_S, posterior_S, frames in zip(
        paths_BS, posteriors_BS, lengths_B.tolist(), strict=True
    ):
        confidence = float(posterior_S[:frames].mean()) if frames else 0.0
        hypotheses.append(Hypothesis(collapse(path_S[:frames]), confidence))
    return hypotheses


Decoder = Callable[[Tensor, Tensor], list[list[Hypothesis]]]
"""Logits (B, S, V) and lengths (B,) -> of each utterance its hypotheses, the best one first."""


def greedy_only(logits_BSV: Tensor, lengths_B: Tensor) -> list[list[Hypothesis]]:
    """`greedy` as a Decoder."""
    return [[hypothesis] for hypothesis in greedy(logits_BSV, lengths_B)]
