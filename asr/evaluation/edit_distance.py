"""Edits that turn a reference into what was recognised, utterance by utterance: as jiwer counts them.

They are counted by rapidfuzz, as jiwer does it; what is shown of them, jiwer aligns.

Text is compared as it stands, but that any white space parts words, as a single space does. An empty
reference has no words, so all that was recognised there counts as insertions; a set without a single
reference word has the rate 100 x errors (jiwer's convention: the denominator is at least one).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from asr.errors import UserError
from asr.evaluation.hypotheses import Utterance

_MOST_PAIRS = 10**11
"""Of a reference's and a hypothesis's characters: the time is proportional to them, here a minute."""


class Counts(NamedTuple):
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
    """An utterance and its edits: counted once, for all metrics that are made of them."""

    utterance: Utterance
    words: Counts
    characters: Counts

    @cached_property
    def word_chunks(self) -> Sequence[Any]:
        """jiwer's AlignmentChunks: type, ref_start_idx, ref_end_idx, hyp_start_idx, ..."""
        import jiwer  # not at module level: `asr --help` answers at once

        texts = spaced(self.utterance.reference), spaced(self.utterance.hypothesis)
        chunks: Sequence[Any] = jiwer.process_words(*texts).alignments[0]
        return chunks


def align(utterances: Sequence[Utterance]) -> list[Aligned]:
    """The utterances in their order, each with its edits."""
    return [
        Aligned(one, *_edits(one.reference, one.hypothesis, "utterance", one.id))
        for one in utterances
    ]


def spaced(text: str) -> str:
    """With single spaces between words: no-break spaces, tabs and ends of lines part words, too."""
    return " ".join(text.split())


def _too_long(reference: str, hypothesis: str, what: str, name: str) -> UserError:
    return UserError(
        f"{what} '{name}': a reference of {len(reference):,} characters and a hypothesis of "
        f"{len(hypothesis):,} are too long to be aligned",
        f"score it in pieces, of at most {math.isqrt(_MOST_PAIRS):,} characters each, or mend the file's "
        "ends of lines",
    )


def count_edits(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[list[Counts], list[Counts]]:
    """Edits of each utterance: of words, and of characters (spaces included, as jiwer has it)."""
    words, characters = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        of_words, of_characters = _edits(reference, hypothesis, "the text", f"{reference[:40]} ...")
        words.append(of_words)
        characters.append(of_characters)
    return words, characters


def _edits(reference: str, hypothesis: str, what: str, name: str) -> tuple[Counts, Counts]:
    """Of words, and of the characters of what `spaced` leaves.

    Raises UserError where an alignment would take minutes to hours.
    """
    words, heard = reference.split(), hypothesis.split()
    one, other = " ".join(words), " ".join(heard)
    if len(one) * len(other) > _MOST_PAIRS and one != other:
        raise _too_long(one, other, what, name)
    return _counts(words, heard), _counts(one, other)


def _counts(reference: Sequence[str], hypothesis: Sequence[str]) -> Counts:
    """Of the way that jiwer chooses, too, among those with as few edits."""
    if reference == hypothesis:
        return Counts(hits=len(reference))
    edits = _levenshtein().editops(reference, hypothesis).as_list()
    deletions = [kind for kind, _, _ in edits].count("delete")
    insertions = deletions + len(hypothesis) - len(reference)
    substitutions = len(edits) - deletions - insertions
    return Counts(len(reference) - substitutions - deletions, substitutions, deletions, insertions)


@cache
def _levenshtein() -> Any:
    from rapidfuzz.distance import Levenshtein  # not at module level: `asr --help` answers at once

    return Levenshtein


def error_counts(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Counts, Counts]:
    """Edits summed over the utterances: of words, and of characters."""
    words, characters = count_edits(references, hypotheses)
    return total(words), total(characters)


def total(counts: Iterable[Counts]) -> Counts:
    """The counts, summed."""
    return Counts(*map(sum, zip(*counts, strict=True)))


def aligned_words(one: Aligned) -> list[tuple[str, str, str]]:
    """(kind, reference word, hypothesis word); kinds equal, substitute, delete, insert."""
    references, hypotheses = one.utterance.reference.split(), one.utterance.hypothesis.split()
    tokens: list[tuple[str, str, str]] = []
    for chunk in one.word_chunks:
        left = references[chunk.ref_start_idx : chunk.ref_end_idx]
        right = hypotheses[chunk.hyp_start_idx : chunk.hyp_end_idx]
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
