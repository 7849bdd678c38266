"""Which labels are not trained on, and the first reason of each."""

from __future__ import annotations

from enum import StrEnum

from asr.config.pseudo_label import FilterConfig
from asr.pseudo_labels.label import Label, length_ratio


class Dropped(StrEnum):
    """Why a label was not trained on."""

    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    LOW_CONFIDENCE = "low_confidence"
    LOW_CTC_SCORE = "low_ctc_score"
    REPETITIVE = "repetitive"
    COMPRESSIBLE = "compressible"
    TOO_FAST = "too_fast"
    NO_SPEECH = "no_speech"
    UNFINISHED = "unfinished"
    """Generation went on until it was stopped."""
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
    LOST = "lost"
    """Its audio cannot be read."""


_MOST_CHANGE_OF_NOISE = 0.5
"""Token error rate against the former label: what is heard in noise is next to nothing, each time."""
_HARDLY_ANY = 0.5
"""Of the transcripts' tokens per second: stray tokens in noise, where frames are blank as in no speech."""
NO_LABEL = (Dropped.UNLABELLED, Dropped.UNSPELLABLE, Dropped.LOST)
"""There is nothing to judge or to compare with."""


def judge(
    label: Label,
    seconds: float,
    tokens_per_second: float,
    change: float | None,
    policy: FilterConfig,
    speech_blank_share: float | None = None,
) -> Dropped | None:
    """The first reason to drop a label when it is made, or None to train on it.

    `seconds` is the speech as recorded, `tokens_per_second` the transcripts', `change` the token error rate
    against the utterance's former label, if it has one. `speech_blank_share` is the most that speech has, by
    the dev sets; None where they say nothing.
    """
    if label.dropped is not None:
        return Dropped(label.dropped)
    metrics, rate = label.metrics, len(label.tokens) / max(1e-9, seconds)
    ratio = length_ratio(len(label.tokens), seconds, tokens_per_second)
    is_blank = _exceeds(metrics.blank_share, speech_blank_share)
    judged = {
        Dropped.NO_SPEECH: (is_blank and (not label.tokens or ratio < _HARDLY_ANY))
        or _exceeds(metrics.blank_share, policy.max_blank_share)
        or _exceeds(metrics.no_speech_probability, policy.max_no_speech_probability),
        Dropped.EMPTY: not label.tokens,
        Dropped.TOO_SHORT: ratio < policy.min_length_ratio,
        Dropped.TOO_LONG: ratio > policy.max_length_ratio,
        Dropped.TOO_FAST: _exceeds(rate, policy.max_tokens_per_second),
        Dropped.REPETITIVE: _exceeds(metrics.repetition, policy.max_repetition),
        Dropped.COMPRESSIBLE: _exceeds(metrics.compression_ratio, policy.max_compression_ratio),
        # NaN where nobody is known to be sure.
        Dropped.LOW_CONFIDENCE: bool(policy.min_confidence)
        and not metrics.confidence >= policy.min_confidence,
        Dropped.LOW_CTC_SCORE: _exceeds(policy.min_ctc_score, metrics.ctc_score),
        Dropped.CHANGED: _exceeds(change, policy.max_change),
    }
    return next((reason for reason, is_so in judged.items() if is_so), None)


def is_without_speech(
    label: Label,
    change: float | None,
    former_ratio: float | None,
    speech_blank_share: float | None,
) -> bool:
    """Whether a label that was judged says something of the audio, and not of the teacher: no speech is there.

    Not where dev speech has as many blanks, as all of it has by a teacher that has collapsed; and not where
    the utterance was heard to hold other words before: more than stray tokens, by its former label's
    `former_ratio` of the transcripts' tokens per second.
    """
    held_words = (former_ratio or 0.0) >= _HARDLY_ANY
    if label.dropped != Dropped.NO_SPEECH or (
        held_words and (change or 0.0) > _MOST_CHANGE_OF_NOISE
    ):
        return False
    is_as_speech = label.metrics.no_speech_probability is None and speech_blank_share is not None
    return not is_as_speech or _exceeds(label.metrics.blank_share, speech_blank_share)


def _exceeds(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def token_edits(tokens: list[int], reference: list[int]) -> int:
    """Substitutions, deletions and insertions."""
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance(tokens, reference))


def token_error_rate(tokens: list[int], former: list[int]) -> float:
    """Edits over the former label's length; of an empty one, their number."""
    return token_edits(tokens, former) / max(1, len(former))
