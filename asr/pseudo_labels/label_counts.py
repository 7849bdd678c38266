"""What is counted of labels and of their uses, and how it fades as more of them come in.

Shape suffixes: F what is counted, R labels or uses in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from asr.config.pseudo_label import HealthConfig
from asr.pseudo_labels.filters import NO_LABEL
from asr.pseudo_labels.label import length_ratio, repeated_trigrams
from asr.pseudo_labels.records import Key, LabelRecord
from asr.pseudo_labels.sharing.smoothing import Floats, Smoothed, faded

_FEW_TRIGRAMS = 10
"""A shorter label may repeat itself by chance."""


@dataclass
class LabelCounts:
    """Additive over labels: `+` adds."""

    labels: float = 0.0
    empty: float = 0.0
    broken: float = 0.0
    """Empty, or far from what a label of that speech looks like."""
    tokens: float = 0.0
    seconds: float = 0.0
    repeated_trigrams: float = 0.0
    trigrams: float = 0.0
    entropy: float = 0.0
    confidence: float = 0.0
    changed: float = 0.0
    compared: float = 0.0
    """Labels of utterances that had one before."""
    word_errors: float = 0.0
    words: float = 0.0
    character_errors: float = 0.0
    characters: float = 0.0
    expected_errors: float = 0.0
    """By confidence and dev sets: the expected share of wrong words, times the seconds below."""
    expected_seconds: float = 0.0
    """Of the labels of which an error rate is expected."""
    disagreements: float = 0.0
    """Token edits between label and student."""
    agreed_on: float = 0.0
    """Tokens of the labels that were compared with the student."""
    uses: float = 0.0
    """These labels."""
    without_speech: float = 0.0
    """Of audio that seems to hold none: in none of the above."""
    heard: float = 0.0
    """All others, to compare with."""
    without_confidence: float = 0.0
    without_entropy: float = 0.0
    """Labels from outside of which nobody knows it."""

    @classmethod
    def of(
        cls, rows: Iterable[LabelRecord], policy: HealthConfig, tokens_per_second: float
    ) -> LabelCounts:
        """Of some labels; `tokens_per_second` are the transcripts', 0 where none are known."""
        counts = cls()
        low, high = policy.length_ratio_band
        for row in rows:
            label = row.label
            if label.dropped in NO_LABEL:
                continue
            if row.is_without_speech:
                counts.without_speech += 1
                continue
            counts.heard += 1
            repeated, trigrams = repeated_trigrams(label.tokens)
            counts.labels += 1
            counts.empty += not label.tokens
            ratio = length_ratio(len(label.tokens), row.seconds, tokens_per_second)
            repeats = trigrams >= _FEW_TRIGRAMS and repeated > policy.max_repetition * trigrams
            counts.broken += not label.tokens or repeats or not low / 2 <= ratio <= 2 * high
            counts.tokens += len(label.tokens)
            counts.seconds += row.seconds
            counts.repeated_trigrams += repeated
            counts.trigrams += trigrams
            if math.isnan(label.metrics.entropy):
                counts.without_entropy += 1
            else:
                counts.entropy += label.metrics.entropy
            if math.isnan(label.metrics.confidence):
                counts.without_confidence += 1
            else:
                counts.confidence += label.metrics.confidence
            if row.change is not None:
                counts.changed += min(1.0, row.change)
                counts.compared += 1
            if row.wer_estimate is not None:
                counts.expected_errors += row.wer_estimate / 100 * row.seconds
                counts.expected_seconds += row.seconds
            if row.errors is not None:
                counts.word_errors += row.errors.word_errors
                counts.words += row.errors.words
                counts.character_errors += row.errors.character_errors
                counts.characters += row.errors.characters
        return counts

    def __add__(self, other: LabelCounts) -> LabelCounts:
        return LabelCounts(*(getattr(self, n) + getattr(other, n) for n in COUNTED))

    def row(self) -> Floats:
        """As an array, in the order of COUNTED."""
        return np.array(list(vars(self).values()), np.float64)

    def faded(self, new_FR: Floats, half_life_labels: float, half_life_uses: float) -> LabelCounts:
        """These, fading as labels come in, after R new counts; the first axis is COUNTED."""
        half_lives = _half_lives(half_life_labels, half_life_uses)
        passed_R = _passed(new_FR)
        passed = [(passed_R[clock], half_lives[clock]) for clock in _FADES_BY]
        return LabelCounts(*faded(self.row(), new_FR, passed, _CLOCKS).tolist())

    def decayed(self, new_FR: Floats, half_life_labels: float, half_life_uses: float) -> Decayed:
        """The same after each of the R, of what the alarm listens to."""
        half_lives, before_F = _half_lives(half_life_labels, half_life_uses), self.row()
        by_clock = {
            clock: Smoothed.of(before_F[own], new_FR[own], passed_R, half_lives[clock])
            for clock, passed_R in _passed(new_FR).items()
            for own in [_ALARMING_BY[clock]]
        }
        whole = partial(
            self.faded, half_life_labels=half_life_labels, half_life_uses=half_life_uses
        )
        return Decayed(by_clock, lambda rows: whole(new_FR[:, :rows]))


@dataclass(frozen=True)
class Decayed:
    """Counts after each of R others, by what they fade with."""

    by_clock: dict[str, Smoothed]
    whole: Callable[[int], LabelCounts]
    """After so many of the R, all of them."""

    def __getitem__(self, name: str) -> Floats:
        """(R,) of one that the alarm listens to."""
        [clock] = [one for one, own in _ALARMING_BY.items() if AT[name] in own]
        return self.by_clock[clock].column(_ALARMING_BY[clock].index(AT[name]))

    def until(self, rows: int) -> LabelCounts:
        """After so many of the R; what the alarm listens to, to the last bit however they are cut."""
        found = self.whole(rows).row()
        for clock, own in _ALARMING_BY.items():
            found[own] = self.by_clock[clock].until(rows)
        return LabelCounts(*found.tolist())


def _passed(new_FR: Floats) -> dict[str, Floats]:
    """By clock, how much passes at each of R.

    A label is compared with the student at each use, and so with or without new labels. Of audio without speech
    is fading what tells its share, and not what labels of speech have told.
    """
    return {
        "labels": new_FR[AT["labels"]],
        "uses": new_FR[AT["uses"]],
        "all": new_FR[AT["heard"]] + new_FR[AT["without_speech"]],
    }


def _half_lives(labels: float, uses: float) -> dict[str, float]:
    return {"labels": labels, "uses": uses, "all": labels}


COUNTED = tuple(one.name for one in fields(LabelCounts))
AT = {name: column for column, name in enumerate(COUNTED)}
_OF_USES, _OF_ALL = ("disagreements", "agreed_on", "uses"), ("heard", "without_speech")
_FADES_BY = {
    "uses": [AT[name] for name in _OF_USES],
    "all": [AT[name] for name in _OF_ALL],
    "labels": [AT[name] for name in COUNTED if name not in (*_OF_USES, *_OF_ALL)],
}
"""Columns, by what they fade with."""
_CLOCKS = [
    number
    for column in range(len(COUNTED))
    for number, own in enumerate(_FADES_BY.values())
    if column in own
]
"""Of each column, the number of what it fades with."""
ALARMING = (
    "without_speech",
    "heard",
    "labels",
    "seconds",
    "tokens",
    "broken",
    "agreed_on",
    "disagreements",
)
"""What the alarm listens to."""
_ALARMING_BY = {
    clock: [column for column in own if COUNTED[column] in ALARMING]
    for clock, own in _FADES_BY.items()
}


@dataclass(frozen=True)
class Observations:
    """Labels that were made, and the student's edits of those that it met, one after the other."""

    counts_FR: Floats
    """Of each, as COUNTED."""
    made: Callable[[int], Key | None] = lambda row: None
    """Which label a row is; None of a use."""

    @classmethod
    def of(cls, found: Sequence[tuple[LabelCounts, Key | None]]) -> Observations:
        rows = np.array([counts.row() for counts, _ in found]).reshape(-1, len(COUNTED))
        return cls(rows.T, lambda row: found[row][1])

    def __len__(self) -> int:
        return len(self.counts_FR.T)

    @property
    def are_uses_alone(self) -> NDArray[np.bool_]:
        """(R,) rows of a use alone."""
        uses, labels = (self.counts_FR[AT[name]] for name in ("uses", "labels"))
        found: NDArray[np.bool_] = (uses != 0) & (labels == 0)
        return found
