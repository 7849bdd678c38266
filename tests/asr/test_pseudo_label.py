"""The label policy: each reason, what is counted, and the alarm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.config import PseudoLabelConfig
from asr.decode import Hypothesis
from asr.pseudo_label import Dropped, LabelCounts, LabelHealth, judge

POLICY = PseudoLabelConfig(
    min_confidence=0.5, min_tokens_per_second=2, max_tokens_per_second=20, max_empty_share=0.3
)


@pytest.mark.parametrize(
    ("tokens", "confidence", "frames", "expected"),
    [
        ([1, 2, 3, 4], 0.9, 50, None),
        ([], 0.9, 50, Dropped.EMPTY),
        ([1], 0.9, 50, Dropped.TOO_SHORT),
        ([1, 2] * 11, 0.9, 50, Dropped.TOO_LONG),
        ([1, 2, 3, 4], 0.4, 50, Dropped.LOW_CONFIDENCE),
        ([1, 1, 1], 0.9, 4, Dropped.INFEASIBLE),
        ([1, 1, 1], 0.9, 5, None),
    ],
)
def test_each_reason(
    tokens: list[int], confidence: float, frames: int, expected: Dropped | None
) -> None:
    assert judge(Hypothesis(tokens, confidence), 1.0, frames, POLICY) is expected


def test_counts_by_reason_and_errors_where_references_are_known() -> None:
    counts = LabelCounts()
    counts.add(Hypothesis([1, 2], 0.9), 1.0, None)
    counts.add(Hypothesis([], 0.9), 1.0, Dropped.EMPTY)
    counts.add_errors(["ab cd", ""], ["ab ce", "never counted"])
    assert counts.dropped == {"empty": 1}
    assert (counts.labels, counts.empty, counts.tokens) == (2, 1, 2)
    assert (counts.word_errors, counts.words) == (1, 2)
    assert (counts.character_errors, counts.characters) == (1, 5)


def batch(labels: int, empty: int, tokens: int) -> LabelCounts:
    return LabelCounts(labels=labels, empty=empty, tokens=tokens, seconds=float(labels))


def test_the_alarm_rings_once_and_again_after_recovery() -> None:
    health, healthy, collapsed = LabelHealth(), batch(10, 0, 100), batch(10, 10, 0)
    for _ in range(50):
        health.observe(healthy)
        assert health.alarm(POLICY, tokens_per_second=10.0) is None
    messages = []
    for _ in range(50):
        health.observe(collapsed)
        messages.append(health.alarm(POLICY, tokens_per_second=10.0))
    rung = [message for message in messages if message]
    assert len(rung) == 1
    assert "empty" in rung[0]
    assert messages.index(rung[0]) < 15
    for _ in range(100):
        health.observe(healthy)
        assert health.alarm(POLICY, tokens_per_second=10.0) is None
    health.observe(batch(1000, 0, 100_000))
    alarm = health.alarm(POLICY, tokens_per_second=10.0)
    assert alarm is not None
    assert "tokens per second" in alarm


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 300)), min_size=1, max_size=20))
def test_figures_are_averages_of_what_was_observed(steps: list[tuple[int, int]]) -> None:
    health = LabelHealth()
    for labels, tokens in steps:
        health.observe(batch(labels, 0, tokens))
    ratio = health.figures(tokens_per_second=10.0)["pseudo_label_length_ratio"]
    rates = [tokens / labels / 10 for labels, tokens in steps]
    assert ratio is not None
    assert min(rates) - 1e-9 <= ratio <= max(rates) + 1e-9


def test_no_labels_no_figures() -> None:
    figures = LabelHealth().figures(10.0)
    assert set(figures.values()) == {None}
    assert LabelHealth().alarm(POLICY, 10.0) is None
