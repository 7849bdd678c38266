"""Rates against jiwer."""

from __future__ import annotations

import random
import time

import jiwer
import pytest
from evaluation_helpers import utterances
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.evaluation import score
from asr.evaluation.hypotheses import Utterance

TEXT = st.lists(st.sampled_from(["A", "BE", "CAT", "ЁЖ", "Ü"]), max_size=6).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_rates_equal_jiwers(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = (list(side) for side in zip(*pairs, strict=True))
    made = [Utterance(str(i), r, h, 1.0) for i, (r, h) in enumerate(pairs)]
    result = score.score(made, draws=10)
    assert result.wer == pytest.approx(100 * jiwer.wer(references, hypotheses))
    assert result.cer == pytest.approx(100 * jiwer.cer(references, hypotheses))
    expected = jiwer.process_words(references, hypotheses)
    found = (result.substitutions, result.deletions, result.insertions)
    assert found == (expected.substitutions, expected.deletions, expected.insertions)


def test_counts_add_up_and_the_sentence_error_rate() -> None:
    made = [Utterance("a", "ONE TWO", "ONE TO", 1800), Utterance("b", "X", "X", 1800)]
    result = score.score(made)
    assert (result.words, result.substitutions, result.utterances) == (3, 1, 2)
    assert result.ser == 50.0
    assert result.hours_of_audio == 1.0
    assert result.wer_low <= result.wer <= result.wer_high


def test_few_utterances_are_not_trusted() -> None:
    few = score.render_table({"teacher": score.score(utterances(0.1, number=5))})
    assert "do not trust" in few
    assert "do not trust" not in score.render_table({"t": score.score(utterances(0.1))})


def test_ten_thousand_utterances_are_scored_in_seconds() -> None:
    words = random.Random(0)
    made = []
    for i in range(10_000):
        reference = [str(words.randrange(2000)) for _ in range(20)]
        hypothesis = [w if words.random() < 0.9 else "0" for w in reference]
        made.append(Utterance(str(i), " ".join(reference), " ".join(hypothesis), 7.0))
    start = time.process_time()
    score.score(made, draws=1000)
    assert time.process_time() - start < 5
