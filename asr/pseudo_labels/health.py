"""The health of the labels: smoothed metrics, and the alarm when they leave their bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from asr.config.pseudo_label import HealthConfig
from asr.pseudo_labels.filters import NO_LABEL
from asr.pseudo_labels.label import length_ratio, repeated_trigrams
from asr.pseudo_labels.records import Key, LabelRecord
from asr.pseudo_labels.sharing.smoothing import Floats, Smoothed

_ALARM_HALF_LIFE_LABELS = 12.0
_ALARM_HALF_LIFE_USES = 4.0
"""Short: four broken labels ring the alarm."""
_FEWEST_LABELS = 4.0
"""Fewer say nothing: the first ones of a run, or of a teacher that went back."""
_FEWEST_WITHOUT_SPEECH = 8.0
"""Files without speech may come together; labels of them are not trained on, so there is time."""
_FEW_TRIGRAMS = 10
"""A shorter label may repeat itself by chance."""
_SHOWN_HALF_LIFE_LABELS = 100.0
_SETTINGS = "pseudo_label.health"


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

    def decayed(self, new_FR: Floats, half_life_labels: float, half_life_uses: float) -> Decayed:
        """These, fading as labels come in, after each of R new counts; the first axis is COUNTED."""
        # A label is compared with the student at each use, and so with or without new labels.
        # Of audio without speech is fading what tells its share, and not what labels of speech have told.
        passed = {
            "labels": new_FR[_AT["labels"]],
            "uses": new_FR[_AT["uses"]],
            "all": new_FR[_AT["heard"]] + new_FR[_AT["without_speech"]],
        }
        half_lives = {"labels": half_life_labels, "uses": half_life_uses, "all": half_life_labels}
        before_F = self.row()
        return Decayed(
            {
                clock: Smoothed.of(before_F[own], new_FR[own], passed[clock], half_lives[clock])
                for clock, own in _FADES_BY.items()
            }
        )


@dataclass(frozen=True)
class Decayed:
    """Counts after each of R others, by what they fade with."""

    by_clock: dict[str, Smoothed]

    def __getitem__(self, name: str) -> Floats:
        """(R,)"""
        [clock] = [one for one, own in _FADES_BY.items() if _AT[name] in own]
        return self.by_clock[clock].column(_FADES_BY[clock].index(_AT[name]))

    def until(self, rows: int) -> LabelCounts:
        """After so many of the R."""
        found = np.empty(len(COUNTED))
        for clock, own in _FADES_BY.items():
            found[own] = self.by_clock[clock].until(rows)
        return LabelCounts(*found.tolist())


COUNTED = tuple(one.name for one in fields(LabelCounts))
_AT = {name: column for column, name in enumerate(COUNTED)}
_OF_USES, _OF_ALL = ("disagreements", "agreed_on", "uses"), ("heard", "without_speech")
_FADES_BY = {
    "uses": [_AT[name] for name in _OF_USES],
    "all": [_AT[name] for name in _OF_ALL],
    "labels": [_AT[name] for name in COUNTED if name not in (*_OF_USES, *_OF_ALL)],
}
"""Columns, by what they fade with."""


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
        uses, labels = (self.counts_FR[_AT[name]] for name in ("uses", "labels"))
        found: NDArray[np.bool_] = (uses != 0) & (labels == 0)
        return found


def shown_metrics(counts: LabelCounts, tokens_per_second: float) -> dict[str, float | None]:
    """Of a metrics line: shares, ratios against the transcripts' tokens per second, rates in percent."""
    return {
        "pseudo_label_empty_share": _ratio(counts.empty, counts.labels),
        "pseudo_label_broken_share": _ratio(counts.broken, counts.labels),
        "pseudo_label_no_speech_share": _ratio(
            counts.without_speech, counts.without_speech + counts.heard
        ),
        "pseudo_label_length_ratio": _ratio(counts.tokens, counts.seconds * tokens_per_second),
        "pseudo_label_repetition": _ratio(counts.repeated_trigrams, counts.trigrams),
        "pseudo_label_disagreement": _ratio(counts.disagreements, counts.agreed_on),
        "pseudo_label_confidence": _ratio(
            counts.confidence, counts.labels - counts.without_confidence
        ),
        "pseudo_label_entropy": _ratio(counts.entropy, counts.labels - counts.without_entropy),
        "pseudo_label_change": _ratio(counts.changed, counts.compared),
        "pseudo_label_wer": _ratio(100 * counts.word_errors, counts.words),
        "pseudo_label_cer": _ratio(100 * counts.character_errors, counts.characters),
        "pseudo_label_wer_estimate": _ratio(100 * counts.expected_errors, counts.expected_seconds),
    }


@dataclass
class LabelHealth:
    """The smoothed metrics of a run. State is plain numbers: a checkpoint holds `asdict(self)`."""

    shown: LabelCounts = field(default_factory=LabelCounts)
    recent: LabelCounts = field(default_factory=LabelCounts)
    """Those that the alarm listens to."""
    is_ill: bool = False
    labels: float = 0.0
    """All that have been made."""

    @classmethod
    def from_state(cls, state: dict[str, dict[str, float]]) -> LabelHealth:
        """What `asdict` gave."""
        shown, recent = (LabelCounts(**state[name]) for name in ("shown", "recent"))
        return cls(shown, recent, bool(state["is_ill"]), float(state["labels"]))  # type: ignore[arg-type]

    def observe(self, counts: LabelCounts) -> None:
        """Of one label or one use, in the order of the stream, so that the averages do not depend on batches.

        Or of all labels of a round: a round is as large with any batch, and is judged as a whole.
        """
        new_F1 = counts.row()[:, None]
        self.observe_all(new_F1, self.ahead(new_F1))

    def observe_all(self, counts_FR: Floats, recent: Decayed) -> None:
        """Of many, one after the other; and what `ahead` says of them, or of these and later ones."""
        rows = counts_FR.shape[1]
        self.labels += float(counts_FR[_AT["labels"]].sum())
        half_life = _SHOWN_HALF_LIFE_LABELS
        self.shown = self.shown.decayed(counts_FR, half_life, half_life).until(rows)
        self.recent = recent.until(rows)

    def ahead(self, counts_FR: Floats) -> Decayed:
        """What the alarm will listen to after each of these."""
        return self.recent.decayed(counts_FR, _ALARM_HALF_LIFE_LABELS, _ALARM_HALF_LIFE_USES)

    def faults(self, policy: HealthConfig, tokens_per_second: float) -> list[str]:
        """Which metrics are outside of their bands, for people."""
        of_one = {name: np.array([getattr(self.recent, name)]) for name in COUNTED}
        beyond, (low, high) = _beyond(of_one, policy, tokens_per_second), policy.length_ratio_band
        metrics = {
            name: value or 0.0
            for name, value in shown_metrics(self.recent, tokens_per_second).items()
        }
        told = {
            "no_speech": f"{metrics['pseudo_label_no_speech_share']:.0%} of them hear no speech "
            f"({_SETTINGS}.max_no_speech_share {policy.max_no_speech_share:.0%})",
            "broken": f"{metrics['pseudo_label_broken_share']:.0%} of them are empty, far too short or "
            f"long, or repeat themselves ({_SETTINGS}.max_broken_share {policy.max_broken_share:.0%})",
            "length": f"{metrics['pseudo_label_length_ratio']:.2f} x the tokens per second of the "
            f"transcripts ({_SETTINGS}.length_ratio_band {low} to {high})",
            "disagreement": f"the student differs from them by "
            f"{metrics['pseudo_label_disagreement']:.0%} "
            f"({_SETTINGS}.max_disagreement {policy.max_disagreement or 0.0:.0%})",
        }
        return [text for name, text in told.items() if beyond[name][0]]

    @staticmethod
    def are_faulty(
        recent: Decayed, policy: HealthConfig, tokens_per_second: float
    ) -> NDArray[np.bool_]:
        """(R,) whether there are faults, by what the alarm listens to."""
        beyond = _beyond(recent, policy, tokens_per_second)
        faulty_R: NDArray[np.bool_] = np.logical_or.reduce(list(beyond.values()))
        return faulty_R

    def forget_recent(self) -> None:
        """Judge by labels yet to come: the teacher is another one now."""
        self.recent = LabelCounts()


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None


def _beyond(
    recent: Mapping[str, Floats] | Decayed, policy: HealthConfig, tokens_per_second: float
) -> dict[str, NDArray[np.bool_]]:
    """(R,) each: which metrics are outside of their bands."""
    without_speech, labels, expected = (
        recent["without_speech"],
        recent["labels"],
        recent["seconds"] * tokens_per_second,
    )
    agreed_on, most = recent["agreed_on"], policy.max_disagreement
    low, high = policy.length_ratio_band
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN, which is beyond nothing
        no_speech = without_speech / (without_speech + recent["heard"])
        broken = recent["broken"] / labels
        length = np.where(expected > 0, recent["tokens"] / expected, np.nan)
        disagreement = np.where(agreed_on > 0, recent["disagreements"] / agreed_on, np.nan)
    are_enough = labels >= _FEWEST_LABELS
    return {
        "no_speech": (without_speech >= _FEWEST_WITHOUT_SPEECH)
        & (no_speech > policy.max_no_speech_share),
        "broken": are_enough & (broken > policy.max_broken_share),
        "length": are_enough & ((length < low) | (length > high)),
        "disagreement": are_enough & (disagreement > (np.inf if most is None else most)),
    }
