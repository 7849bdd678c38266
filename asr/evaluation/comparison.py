"""Do two or several systems differ, by how much, and may it be chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from asr.errors import UserError
from asr.evaluation.bootstrap import (
    FEW_UTTERANCES,
    SIGNIFICANT,
    Comparison,
    common_utterances,
    compare_aligned,
    paired,
)
from asr.evaluation.significance import SegmentTest, SentenceTest, holm, mapsswe, mcnemar
from asr.evaluation.systems import System
from asr.evaluation.texts import Texts, system_of


@dataclass(frozen=True)
class Pair:
    """All that is said of two systems; a minus b, so below 0 a is better."""

    a: str
    b: str
    comparison: Comparison
    """By the paired bootstrap: differences with intervals and p-values, of words and of characters."""
    segments: SegmentTest
    """MAPSSWE (Gillick & Cox 1989), of words."""
    sentences: SentenceTest
    """McNemar's test, of sentences."""

    @property
    def delta_wer(self) -> float:
        """WER of a minus that of b, in percentage points."""
        return self.comparison.delta_wer

    @property
    def p_wer(self) -> float:
        """Two-sided p-value of it, by the paired bootstrap."""
        return self.comparison.p_wer


def compare(a: Texts, b: Texts, references: Texts | None = None, normaliser: str = "none") -> Pair:
    """Two systems on the same utterances: paired bootstrap, MAPSSWE, McNemar.

    `a` and `b` are what `asr.decode` returned, or files of `asr decode`; or texts of any form that `asr.score`
    takes, with `references` of the same form. Raises UserError unless utterances and references are the same.

    >>> import asr
    >>> words = ["one two three"] * 40
    >>> found = asr.compare(words, ["one too three"] * 40, references=words)
    >>> round(found.delta_wer, 2), found.p_wer < 0.05
    (-33.33, True)
    """
    systems = [system_of(a, references, normaliser, "a"), system_of(b, references, normaliser, "b")]
    check_stamps(systems)
    return compare_systems(*systems)


def compare_systems(a: System, b: System) -> Pair:
    """The three tests. Raises UserError unless utterances and references are the same."""
    left, right = paired(a.aligned, b.aligned)
    return Pair(
        a.name,
        b.name,
        compare_aligned(left, right),
        mapsswe(left, right),
        mcnemar(left, right),
    )


def check_stamps(systems: Sequence[System]) -> None:
    """Raises UserError unless all were scored against the same references, normalised alike."""
    first = systems[0]
    for other in systems[1:]:
        if other.stamp != first.stamp:
            changed = [
                name
                for name, value in asdict(first.stamp).items()
                if asdict(other.stamp)[name] != value
            ]
            raise UserError(
                f"{first.name} and {other.name}: not comparable, they differ in {', '.join(changed)}",
                "decode the same set with both, or say --common to compare the utterances that have "
                "the same reference in all",
            )


def in_common(systems: Sequence[System]) -> list[System]:
    """The systems on the utterances that have the same reference in all. Raises UserError without any."""
    kept = common_utterances([system.aligned for system in systems])
    if not kept[0]:
        raise UserError(
            "no utterance has the same reference in all systems",
            "decode the same set with all of them",
        )
    stamp = replace(systems[0].stamp, references_sha256="common", utterances=len(kept[0]))
    result = []
    for system, aligned in zip(systems, kept, strict=True):
        left = len(system.aligned) - len(aligned)
        notes = [*system.notes, *([f"{left} of its utterances are not in all"] if left else [])]
        own = replace(stamp, normaliser=system.stamp.normaliser)
        result.append(System(system.name, aligned, own, notes))
    return result


@dataclass(frozen=True)
class Adjusted:
    """A pair's p-values, each corrected by Holm for the number of pairs that the test was made of."""

    wer: float
    cer: float
    segments: float
    sentences: float


def adjusted(pairs: Sequence[Pair]) -> list[Adjusted]:
    """Of each pair, the p-values that may be compared with 0.05 however many pairs there are."""
    numbered = list(enumerate(pairs))
    by_test = (
        holm({number: pair.comparison.p_wer for number, pair in numbered}),
        holm({number: pair.comparison.p_cer for number, pair in numbered}),
        holm({number: pair.segments.p for number, pair in numbered}),
        holm({number: pair.sentences.p for number, pair in numbered}),
    )
    return [Adjusted(*(test[number] for test in by_test)) for number, _ in numbered]


def who_is_better(pair: Pair, p_wer: float, utterances: int) -> str:
    """Which of two systems is better, in words; `p_wer` is corrected for the number of pairs."""
    delta = pair.delta_wer
    if delta == 0:
        return "the same word error rate"
    lower, higher = (pair.a, pair.b) if delta < 0 else (pair.b, pair.a)
    points = f"{abs(delta):.2f} points of WER"
    if utterances < FEW_UTTERANCES:
        return f"{lower} has {points} less than {higher}, but {utterances} utterances are too few to tell"
    if p_wer < SIGNIFICANT:
        return f"{lower} is better than {higher} by {points}"
    return f"{lower} has {points} less than {higher}, but it may be chance"
