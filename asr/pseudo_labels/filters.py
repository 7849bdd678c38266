"""Which labels are not trained on, and the first reason of each."""

from __future__ import annotations

from enum import StrEnum

from asr.config.pseudo_label import FilterConfig
from asr.pseudo_labels.label import Label


class Dropped(StrEnum):
    """Why a label was not trained on."""

    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    LOW_CONFIDENCE = "low_confidence"
    CHANGED = "changed"
    INFEASIBLE = "infeasible"
    PAUSED = "paused"
    INVALIDATED = "invalidated"
    """Made while the teacher was collapsing."""
    UNLABELLED = "unlabelled"
    """No round has chosen the utterance yet; or no file from outside has a label of it."""
    UNSPELLABLE = "unspellable"
    """A label from outside with characters that the tokenizer lacks."""
    DISAGREEING = "disagreeing"
    """A label from outside that is far from the average's."""


NO_LABEL = (Dropped.UNLABELLED, Dropped.UNSPELLABLE)
"""There is nothing to judge or to compare with."""


def judge(
    label: Label,
    seconds: float,
    tokens_per_second: float,
    change: float | None,
    policy: FilterConfig,
) -> Dropped | None:
    """The first reason to drop a label when it is made, or None to train on it.

    `seconds` is the speech as recorded, `tokens_per_second` the transcripts', `change` the token error rate
    against the utterance's former label, if it has one.
    """
    ratio = len(label.tokens) / max(1e-9, seconds * tokens_per_second)
    if not label.tokens:
        return Dropped.EMPTY
    if ratio < policy.min_length_ratio:
        return Dropped.TOO_SHORT
    if ratio > policy.max_length_ratio:
        return Dropped.TOO_LONG
    if policy.min_confidence and not label.metrics.confidence >= policy.min_confidence:  # or NaN
        return Dropped.LOW_CONFIDENCE
    if policy.max_change is not None and change is not None and change > policy.max_change:
        return Dropped.CHANGED
    return None


def token_edits(tokens: list[int], reference: list[int]) -> int:
    """Substitutions, deletions and insertions."""
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance(tokens, reference))


def token_error_rate(tokens: list[int], former: list[int]) -> float:
    """Edits over the former label's length; of an empty one, their number."""
    return token_edits(tokens, former) / max(1, len(former))
