"""The n-gram model: a distribution in every context, and what KenLM makes of the file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data_prep.ngram import Gram, arpa_lines, estimate, units_of

SENTENCES = st.lists(st.lists(st.sampled_from("abcd"), max_size=7), min_size=1, max_size=8)


def probability(model: list[dict[Gram, tuple[float, float]]], context: Gram, word: str) -> float:
    """As a reader of ARPA computes it: the longest n-gram that is there, or back off."""
    context = context[max(0, len(context) - len(model) + 1) :]
    gram = (*context, word)
    if gram in model[len(gram) - 1]:
        return 10 ** model[len(gram) - 1][gram][0]
    backoff = model[len(context) - 1].get(context, (0.0, 0.0))[1] if context else 0.0
    return 10**backoff * probability(model, context[1:], word)


@settings(max_examples=60, deadline=None)
@given(SENTENCES, st.integers(1, 4), st.lists(st.sampled_from("abcde"), max_size=4))
def test_every_context_has_a_distribution(
    sentences: list[list[str]], order: int, context: list[str]
) -> None:
    model = estimate(sentences, order)
    words = [word for (word,) in model[0] if word != "<s>"]
    for start in (("<s>",), ()):
        total = math.fsum(probability(model, (*start, *context), word) for word in words)
        assert total == pytest.approx(1.0, abs=1e-9)


def test_a_unigram_model_by_hand() -> None:
    # a a b </s> c </s>: n1 = 2 (b, c), n2 = 2 (a, </s>), D = 2 / (2 + 2 * 2) = 1/3; six tokens.
    [unigrams] = estimate([["a", "a", "b"], ["c"]], 1)
    left = (1 / 3) * 4 / 6  # taken from four words, spread over a, b, c, </s>, <unk>
    assert 10 ** unigrams[("a",)][0] == pytest.approx((2 - 1 / 3) / 6 + left / 5)
    assert 10 ** unigrams[("c",)][0] == pytest.approx((1 - 1 / 3) / 6 + left / 5)
    assert 10 ** unigrams[("<unk>",)][0] == pytest.approx(left / 5)


def test_a_lower_order_counts_what_comes_before() -> None:
    # "b" often, but only after "a"; "c" after both.
    model = estimate([["a", "b"], ["a", "b"], ["a", "b"], ["a", "c"], ["d", "c"]], 2)
    assert probability(model, ("never seen",), "c") > probability(model, ("never seen",), "b")
    assert probability(model, ("a",), "b") > probability(model, ("a",), "c")


def test_units() -> None:
    assert units_of(" ab  c ", "characters") == ["a", "b", "|", "c"]
    assert units_of(" ab  c ", "words") == ["ab", "c"]


def test_kenlm_reads_the_file_and_agrees(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    sentences = [list("abcabd"), list("bca"), list("aab"), list("dcb")]
    model = estimate(sentences, 3)
    path = tmp_path / "lm.arpa"
    path.write_text("".join(arpa_lines(model)))
    read = kenlm.Model(str(path))
    for text in ("abd", "ccc", "dab", ""):
        words = [*text, "</s>"]
        expected = math.fsum(
            math.log10(probability(model, ("<s>", *text)[: i + 1], word))
            for i, word in enumerate(words)
        )
        assert read.score(" ".join(text)) == pytest.approx(expected, abs=1e-4)
