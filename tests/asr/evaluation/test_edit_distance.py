"""Edits are counted, aligned and ranked."""

from __future__ import annotations

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
