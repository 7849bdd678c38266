"""Each reason to drop a label."""

from __future__ import annotations

import pytest

from asr.config.pseudo_label import FilterConfig
from asr.pseudo_labels.filters import Dropped, judge, token_error_rate
from asr.pseudo_labels.label import Label, LabelMetrics

POLICY = FilterConfig(
    min_confidence=0.5, min_length_ratio=0.5, max_length_ratio=2.0, max_change=0.4
)


@pytest.mark.parametrize(
    ("tokens", "confidence", "change", "expected"),
    [
        ([1, 2, 3, 4], 0.9, None, None),
        ([], 0.9, None, Dropped.EMPTY),
        ([1], 0.9, None, Dropped.TOO_SHORT),
        ([1, 2] * 5, 0.9, None, Dropped.TOO_LONG),
        ([1, 2, 3, 4], 0.4, None, Dropped.LOW_CONFIDENCE),
        ([1, 2, 3, 4], 0.9, 0.5, Dropped.CHANGED),
        ([1, 2, 3, 4], 0.9, 0.3, None),
    ],
)
def test_each_reason(
    tokens: list[int], confidence: float, change: float | None, expected: Dropped | None
) -> None:
    label = Label(tokens, LabelMetrics(confidence, 0.5, 0.1))
    assert judge(label, 1.0, 4.0, change, POLICY) is expected


@pytest.mark.parametrize(
    ("score", "limit", "expected"),
    [(0.1, 0.2, Dropped.LOW_CTC_SCORE), (0.2, 0.2, None), (0.0, 0.0, None), (None, 0.2, None)],
)
def test_what_the_ctc_head_does_not_hear(
    score: float | None, limit: float, expected: Dropped | None
) -> None:
    """A label from outside has no score, and is not judged by it."""
    label = Label([1, 2, 3, 4], LabelMetrics(0.9, 0.5, 0.1, ctc_score=score))
    assert judge(label, 1.0, 4.0, None, FilterConfig(min_ctc_score=limit)) is expected


@pytest.mark.parametrize(
    ("tokens", "blank_share", "expected"),
    [
        ([], 0.95, Dropped.NO_SPEECH),
        ([1], 0.95, Dropped.NO_SPEECH),  # a stray token in noise
        ([1], 0.85, None),
        ([1, 2], 0.95, None),
        ([], 0.85, Dropped.EMPTY),
    ],
)
def test_hardly_anything_is_heard_where_there_is_no_speech(
    tokens: list[int], blank_share: float, expected: Dropped | None
) -> None:
    """Of a teacher whose dev speech has at most 90 % of blanks, and transcripts of 4 tokens a second."""
    label = Label(tokens, LabelMetrics(0.9, blank_share, 0.1))
    assert judge(label, 1.0, 4.0, None, FilterConfig(), 0.9) is expected


def test_change_is_relative_to_the_former_label() -> None:
    assert token_error_rate([1, 2, 3, 4], [1, 2, 3, 5]) == 0.25
    assert token_error_rate([1], []) == 1.0
    assert token_error_rate([], [1, 2]) == 1.0
