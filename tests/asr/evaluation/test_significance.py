"""MAPSSWE, McNemar and Holm against references in float64 that are computed in another way."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.evaluation.edit_distance import align
from asr.evaluation.hypotheses import Utterance
from asr.evaluation.significance import (
    binomial_two_sided,
    holm,
    mapsswe,
    mcnemar,
    segment_test,
    segments,
)


def system(*pairs: tuple[str, str]) -> list[Utterance]:
    return [Utterance(str(i), r, h, 1.0) for i, (r, h) in enumerate(pairs)]


def test_two_words_right_in_both_part_the_segments() -> None:
    reference = "a b c d e f g h"
    a = align(system((reference, "X b c d e f g h")))  # wrong at a
    b = align(system((reference, "a b X d e f g Y")))  # wrong at c and h
    # a . b right . c wrong: one word between, so one segment; d e f g right: another.
    found = mapsswe(a, b)
    assert found.segments == 2
    assert found.mean_difference == pytest.approx((0 - 1) / 2)


def test_an_insertion_stands_in_its_gap() -> None:
    # Places: gap, word, gap, word, ..., gap.
    assert segments([0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]) == [(0, 1), (1, 0)]
    assert segments([0, 0, 0, 1, 0], [2, 0, 0, 0, 0]) == [(1, 2)]
    assert segments([0, 0, 0], [0, 0, 0]) == []


def test_segment_test_equals_float64_of_another_form() -> None:
    random = np.random.default_rng(0)
    values = random.integers(-2, 3, size=317)
    found = segment_test(values.tolist())
    z = np.sqrt(317) * values.mean(dtype=np.float64) / values.std(ddof=1, dtype=np.float64)
    assert found.statistic == pytest.approx(z, rel=1e-12)
    density = np.linspace(abs(z), 40, 2_000_001)  # the integral of the normal density, numerically
    area = np.trapezoid(np.exp(-(density**2) / 2), density) / math.sqrt(2 * math.pi)
    assert found.p == pytest.approx(2 * area, rel=1e-6)


def test_segment_test_holds_its_level() -> None:
    random = np.random.default_rng(1)
    ps = [segment_test(random.integers(-1, 2, size=200).tolist()).p for _ in range(2000)]
    assert 0.03 < np.mean(np.array(ps) < 0.05) < 0.07


def test_systems_that_do_not_differ() -> None:
    same = align(system(("a b", "a X"), ("c", "c")))
    assert mapsswe(same, same).p == 1.0
    assert mcnemar(same, same).p == 1.0
    assert mapsswe([], []).p == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial(x: int, y: int) -> None:
    smaller, trials = min(x, y), x + y
    tail = sum(Fraction(math.comb(trials, k), 2**trials) for k in range(smaller + 1))
    assert binomial_two_sided(smaller, trials) == pytest.approx(float(min(Fraction(1), 2 * tail)))


def test_mcnemar_counts_sentences() -> None:
    a = align(system(("a b", "a b"), ("c", "c"), ("d", "X"), ("e", "e"), ("f", "X")))
    b = align(system(("a b", "a X"), ("c", "X"), ("d", "d"), ("e", "e"), ("f", "X")))
    found = mcnemar(a, b)
    assert (found.only_a_right, found.only_b_right) == (2, 1)
    assert found.p == 1.0


def test_holm_by_hand() -> None:
    found = holm({"x": 0.01, "y": 0.04, "z": 0.03, "w": 0.005})
    assert found == pytest.approx({"x": 0.03, "y": 0.06, "z": 0.06, "w": 0.02})
    assert holm({}) == {}


def test_segments_that_all_differ_alike_are_judged_by_their_signs() -> None:
    found = segment_test([-1, -1, -1])
    assert found.statistic is None
    assert found.p == 0.25
