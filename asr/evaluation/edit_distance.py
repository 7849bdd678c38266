"""Edits that turn a reference into what was recognised, counted by jiwer, utterance by utterance.

Text is compared as it stands, but that any white space parts words, as a single space does. An empty
reference has no words, so all that was recognised there counts as insertions; a set without a single
reference word has the rate 100 x errors (jiwer's convention: the denominator is at least one).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from asr.errors import UserError
from asr.evaluation.hypotheses import Utterance

_MOST_PAIRS = 10**11
"""Of a reference's and a hypothesis's characters: the time is proportional to them, here a minute."""


@dataclass(frozen=True)
class Counts:
    """Edits that turn references into hypotheses; of words or of characters."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Words or characters of the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Error rate in percent."""
        return 100.0 * self.errors / max(1, self.reference_length)


@dataclass(frozen=True)
class Aligned:
    """An utterance and its edits: aligned once, for all metrics that are made of it."""

    utterance: Utterance
    words: Counts
    characters: Counts
    reference_words: Sequence[str]
    """Words of the reference."""
    hypothesis_words: Sequence[str]
    """Words of the hypothesis."""
    word_chunks: Sequence[Any]
    """jiwer's AlignmentChunks of these: type, ref_start_idx, ref_end_idx, hyp_start_idx, ..."""


def align(utterances: Sequence[Utterance]) -> list[Aligned]:
    """The utterances in their order, each with its edits."""
    if not utterances:
        return []
    references = list(map(spaced, (u.reference for u in utterances)))
    hypotheses = list(map(spaced, (u.hypothesis for u in utterances)))
    for utterance, one, other in zip(utterances, references, hypotheses, strict=True):
        _check_length(one, other, f"utterance '{utterance.id}'")
    words, characters = jiwer_outputs(references, hypotheses)
    return [
        Aligned(
            utterance,
            _counts(chunks),
            _counts(character_chunks),
            reference_words,
            hypothesis_words,
            chunks,
        )
        for utterance, reference_words, hypothesis_words, chunks, character_chunks in zip(
            utterances,
            words.references,
            words.hypotheses,
            words.alignments,
            characters.alignments,
            strict=True,
        )
    ]


def spaced(text: str) -> str:
    """With single spaces between words: no-break spaces, tabs and ends of lines part words, too."""
    return " ".join(text.split())


def _check_length(reference: str, hypothesis: str, what: str) -> None:
    """Raises UserError where an alignment would take minutes to hours."""
    if len(reference) * len(hypothesis) > _MOST_PAIRS and reference != hypothesis:
        raise UserError(
            f"{what}: a reference of {len(reference):,} characters and a hypothesis of {len(hypothesis):,} are "
            "too long to be aligned",
            f"score it in pieces, of at most {math.isqrt(_MOST_PAIRS):,} characters each, or mend the file's "
            "ends of lines",
        )


def jiwer_outputs(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Any, Any]:
    """jiwer's WordOutput and CharacterOutput of texts as `spaced` leaves them."""
    import jiwer  # not at module level: `asr --help` answers at once

    return (
        jiwer.process_words(list(references), list(hypotheses)),
        jiwer.process_characters(list(references), list(hypotheses)),
    )


def count_edits(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[list[Counts], list[Counts]]:
    """Edits of each utterance: of words, and of characters (spaces included, as jiwer has it)."""
    if not references:
        return [], []
    left, right = list(map(spaced, references)), list(map(spaced, hypotheses))
    for one, other in zip(left, right, strict=True):
        _check_length(one, other, f"the text '{one[:40]} ...'")
    words, characters = jiwer_outputs(left, right)
    return list(map(_counts, words.alignments)), list(map(_counts, characters.alignments))


def _counts(alignment: Iterable[Any]) -> Counts:
    totals = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in alignment:
        # A chunk covers as many words on both sides, or on one side none.
        totals[chunk.type] += max(
            chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        )
    return Counts(totals["equal"], totals["substitute"], totals["delete"], totals["insert"])


def error_counts(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Counts, Counts]:
    """Edits summed over the utterances: of words, and of characters."""
    words, characters = count_edits(references, hypotheses)
    return total(words), total(characters)


def total(counts: Iterable[Counts]) -> Counts:
    """The counts, summed."""
    rows = [(c.hits, c.substitutions, c.deletions, c.insertions) for c in counts]
    return Counts(*map(sum, zip(*rows, strict=True)))


def aligned_words(one: Aligned) -> list[tuple[str, str, str]]:
    """(kind, reference word, hypothesis word); kinds equal, substitute, delete, insert."""
    tokens: list[tuple[str, str, str]] = []
    for chunk in one.word_chunks:
        left = list(one.reference_words[chunk.ref_start_idx : chunk.ref_end_idx])
        right = list(one.hypothesis_words[chunk.hyp_start_idx : chunk.hyp_end_idx])
        length = max(len(left), len(right))  # one side is empty at a deletion or insertion
        left, right = left or [""] * length, right or [""] * length
        tokens += [(chunk.type, a, b) for a, b in zip(left, right, strict=True)]
    return tokens


def commonest_errors(
    aligned: Sequence[Aligned], most: int
) -> dict[str, list[tuple[str, str, int]]]:
    """By kind (substitute, delete, insert): (reference word, hypothesis word, count), the commonest first."""
    counts: dict[str, Counter[tuple[str, str]]] = {
        kind: Counter() for kind in ("substitute", "delete", "insert")
    }
    for one in aligned:
        if one.words.errors:
            for kind, reference_words, hypothesis_words in aligned_words(one):
                if kind in counts:
                    counts[kind][reference_words, hypothesis_words] += 1
    return {
        kind: [(*pair, n) for pair, n in sorted(c.items(), key=lambda i: (-i[1], i[0]))[:most]]
        for kind, c in counts.items()
    }
