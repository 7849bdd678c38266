"""Whether two systems differ: MAPSSWE on words, McNemar's test on sentences, Holm's correction.

MAPSSWE, the matched-pairs sentence-segment word error test, is Gillick & Cox 1989, "Some statistical issues
in the comparison of speech recognition algorithms" (ICASSP), as NIST's sc_stats has it: errors are compared
in segments that at least two words, right in both systems, set apart from each other, so that segments
are independent where utterances are long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr.evaluation.edit_distance import Aligned

_WORDS_BETWEEN_SEGMENTS = 2


@dataclass(frozen=True)
class SegmentTest:
    """MAPSSWE of a minus b."""

    segments: int
    """Segments in which either system has an error."""
    mean_difference: float
    """Errors of a minus errors of b, a segment."""
    statistic: float | None
    """Standard normal where the systems are alike; 0 where they do not differ at all, None where every
    segment differs by the same, and p is that of the sign test."""
    p: float
    """Two-sided."""


@dataclass(frozen=True)
class SentenceTest:
    """McNemar's test: sentences that one system has right and the other wrong."""

    only_a_right: int
    only_b_right: int
    p: float
    """Exact, two-sided."""


def mapsswe(a: Sequence[Aligned], b: Sequence[Aligned]) -> SegmentTest:
    """The test of two systems on the same utterances, in the same order (`statistics.paired`)."""
    differences: list[int] = []
    for left, right in zip(_errors_by_place(a), _errors_by_place(b), strict=True):
        differences += [x - y for x, y in segments(left, right)]
    return segment_test(differences)


def segment_test(differences: Sequence[int]) -> SegmentTest:
    """The normal test of the mean of the segments' differences in errors."""
    count = len(differences)
    mean = sum(differences) / count if count else 0.0
    if count < 2 or not any(differences):
        return SegmentTest(count, mean, 0.0, 1.0)
    variance = math.fsum((d - mean) ** 2 for d in differences) / (count - 1)
    if variance == 0.0:  # every segment differs by the same: no normal test, but that of the signs
        return SegmentTest(count, mean, None, binomial_two_sided(0, count))
    statistic = mean / math.sqrt(variance / count)
    return SegmentTest(count, mean, statistic, math.erfc(abs(statistic) / math.sqrt(2.0)))


def segments(left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    """Errors (of left, of right) of the segments of one utterance.

    Both are errors by place: place 2 i is the gap before reference word i, whose insertions stand
    there, and place 2 i + 1 the word, 1 if it is wrong.
    """
    found: list[tuple[int, int]] = []
    right_words, open_segment = 0, False
    for place, errors in enumerate(zip(left, right, strict=True)):
        if errors == (0, 0):
            right_words += place % 2
            continue
        if open_segment and right_words < _WORDS_BETWEEN_SEGMENTS:
            before = found.pop()
            errors = before[0] + errors[0], before[1] + errors[1]
        found.append(errors)
        right_words, open_segment = 0, True
    return found


def _errors_by_place(aligned: Sequence[Aligned]) -> Iterable[list[int]]:
    for one in aligned:
        places = [0] * (2 * one.words.reference_length + 1)
        for chunk in one.word_chunks:
            if chunk.type == "insert":
                places[2 * chunk.ref_start_idx] += chunk.hyp_end_idx - chunk.hyp_start_idx
            elif chunk.type != "equal":
                for word in range(chunk.ref_start_idx, chunk.ref_end_idx):
                    places[2 * word + 1] = 1
        yield places


def mcnemar(a: Sequence[Aligned], b: Sequence[Aligned]) -> SentenceTest:
    """The test of two systems on the same utterances, in the same order (`statistics.paired`).

    McNemar 1947; exact: of the sentences on which the systems disagree, each is as likely to have its
    one right.
    """
    right = [(not x.words.errors, not y.words.errors) for x, y in zip(a, b, strict=True)]
    only_a, only_b = right.count((True, False)), right.count((False, True))
    return SentenceTest(only_a, only_b, binomial_two_sided(min(only_a, only_b), only_a + only_b))


def binomial_two_sided(smaller: int, trials: int) -> float:
    """Twice the probability of at most `smaller` heads in `trials` tosses of a fair coin, at most 1."""
    term = tail = 1
    for k in range(1, smaller + 1):
        term = term * (trials - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / (1 << trials))  # of whole numbers: exact at any size


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """p-values adjusted for their number (Holm 1979): comparable with 0.05, however many there are."""
    adjusted: dict[Any, float] = {}
    reached = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = reached
    return {name: adjusted[name] for name in p_values}
