"""Edits are counted, aligned and ranked."""

from __future__ import annotations

import time
from typing import Any

import jiwer
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr.errors import UserError
from asr.evaluation import edit_distance as edits
from asr.evaluation.edit_distance import Counts
from asr.evaluation.hypotheses import Utterance


def test_empty_reference_counts_insertions_and_empty_hypothesis_deletions() -> None:
    words, characters = edits.count_edits(["", "A B", ""], ["A B C", "", ""])
    assert words[0] == Counts(insertions=3)
    assert words[1] == Counts(deletions=2)
    assert words[2] == Counts()
    assert characters[1].deletions == 3
    assert edits.error_counts([], []) == (Counts(), Counts())
    assert words[0].rate == 300.0


TEXTS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "\u00e9\U0001f600"]), max_size=12).map(
    " ".join
)


@given(reference=TEXTS, hypothesis=TEXTS)
@example(reference="", hypothesis="")
def test_counts_and_ways_are_those_of_jiwer(reference: str, hypothesis: str) -> None:
    def counts(output: Any) -> Counts:
        return Counts(output.hits, output.substitutions, output.deletions, output.insertions)

    of_words, of_characters = edits.error_counts([reference], [hypothesis])
    assert of_words == counts(jiwer.process_words(reference, hypothesis))
    assert of_characters == counts(jiwer.process_characters(reference, hypothesis))
    kinds = [kind for kind, _, _ in words(reference, hypothesis)]
    assert kinds.count("equal") == of_words.hits
    assert kinds.count("substitute") == of_words.substitutions


def words(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    [one] = edits.align([Utterance("u", reference, hypothesis, 1.0)])
    return edits.aligned_words(one)


def test_alignment_of_words() -> None:
    assert words("A B C", "A X C D") == [
        ("equal", "A", "A"),
        ("substitute", "B", "X"),
        ("equal", "C", "C"),
        ("insert", "", "D"),
    ]
    assert words("A B", "") == [("delete", "A", ""), ("delete", "B", "")]
    assert words("", "A") == [("insert", "", "A")]


def test_the_commonest_errors() -> None:
    made = [
        Utterance("a", "A B C", "A X C D", 1.0),
        Utterance("b", "B B", "X Y", 1.0),
        Utterance("c", "E F", "F", 1.0),
    ]
    found = edits.commonest_errors(edits.align(made), 5)
    assert found["substitute"] == [("B", "X", 2), ("B", "Y", 1)]
    assert found["delete"] == [("E", "", 1)]
    assert found["insert"] == [("", "D", 1)]


@pytest.mark.parametrize("space", ["\u00a0", "\t", "\n", "  ", "\u2028", "\u3000", "\x85"])
def test_any_white_space_parts_words(space: str) -> None:
    texts = [f"a{space}b c", f"{space}d e"], ["a b c", f"d{space}e"]
    for counts in edits.error_counts(*texts):
        assert counts.errors == 0
    [one, other] = edits.align([Utterance(r, r, h, 1.0) for r, h in zip(*texts, strict=True)])
    assert (one.words, other.words) == (Counts(hits=3), Counts(hits=2))
    assert one.characters.errors == other.characters.errors == 0


def test_texts_that_would_take_hours_are_refused_at_once() -> None:
    long, other = "ab cd " * 60_000, "ba dc " * 60_000
    began = time.monotonic()
    with pytest.raises(UserError, match=r"utterance 'u': a reference of 359,999 characters"):
        edits.align([Utterance("u", long, other, 1.0)])
    with pytest.raises(UserError, match="too long to be aligned; score it in pieces"):
        edits.error_counts([long], [other])
    assert time.monotonic() - began < 10
    assert edits.error_counts([long], [long])[0] == Counts(hits=120_000)
