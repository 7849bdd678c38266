"""The estimate of errors by confidence recovers a known relation, and claims nothing without one."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.evaluation.calibration.word_errors import FEWEST_UTTERANCES, Calibration, Read


def read(
    count: int, seed: int, low: float = 0.0, high: float = 1.0, exponent: float = 2.0
) -> list[Read]:
    """Utterances of 3 to 20 words, each word wrong with probability (1 - confidence)^exponent."""
    random = np.random.default_rng(seed)
    found = []
    for confidence in random.uniform(low, high, count):
        words = int(random.integers(3, 21))
        errors = int(random.binomial(words, (1 - confidence) ** exponent))
        found.append(Read(float(confidence), errors, words))
    return found


def true_wer(texts: list[Read]) -> float:
    return 100 * sum(one.errors for one in texts) / sum(one.words for one in texts)


def estimate(calibration: Calibration, texts: list[Read]) -> float:
    words = sum(one.words for one in texts)
    return sum(calibration.wer(one.confidence) * one.words for one in texts) / words


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("span", [(0.0, 1.0), (0.6, 0.95), (0.1, 0.4)])
def test_it_recovers_the_errors_of_other_texts(exponent: float, span: tuple[float, float]) -> None:
    """Also of texts that are surer, or less sure, than dev is."""
    calibration = Calibration.fit(read(400, 1, exponent=exponent))
    assert calibration is not None
    others = read(3000, 2, *span, exponent=exponent)
    assert estimate(calibration, others) == pytest.approx(true_wer(others), abs=4.0)


def test_the_mean_of_dev_is_dev_s_own_error_rate() -> None:
    dev = read(60, 3)
    calibration = Calibration.fit(dev)
    assert calibration is not None
    assert estimate(calibration, dev) == pytest.approx(true_wer(dev), abs=2.0)


def test_few_texts_or_none_claim_nothing() -> None:
    assert Calibration.fit([]) is None
    assert Calibration.fit(read(FEWEST_UTTERANCES - 1, 1)) is None
    assert Calibration.fit([Read(0.5, 1, 1)] * FEWEST_UTTERANCES) is None, "so few words"
    assert Calibration.fit([Read(0.5, 3, 0)] * 100) is None, "no references"


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 30), st.integers(1, 20)), min_size=60, max_size=90
    )
)
def test_it_never_rises_and_does_not_depend_on_the_order(
    rows: list[tuple[float, int, int]],
) -> None:
    texts = [Read(*row) for row in rows]
    calibration = Calibration.fit(texts)
    assert calibration is not None
    wers = [calibration.wer(c) for c in np.linspace(0, 1, 50)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(wers))
    assert Calibration.fit(texts[::-1]) == calibration
    assert Calibration.from_state(json.loads(json.dumps(asdict(calibration)))) == calibration


def test_a_shortfall_of_confidence_is_told_from_chance() -> None:
    calibration = Calibration.fit(read(400, 1, 0.6, 1.0))
    assert calibration is not None
    assert calibration.shortfall(0.8, 100) is None
    assert calibration.shortfall(0.9, 100) is None
    assert calibration.shortfall(0.4, 100) == pytest.approx(0.5, abs=0.02)
    assert calibration.shortfall(0.4, 1) is None, "one utterance says little"
