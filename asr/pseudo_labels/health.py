"""The health of the labels: smoothed metrics, and the alarm when they leave their bands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from asr.config.pseudo_label import HealthConfig
from asr.pseudo_labels.filters import NO_LABEL
from asr.pseudo_labels.label import length_ratio, repeated_trigrams
from asr.pseudo_labels.records import Comparison, Key, LabelRecord

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
        return LabelCounts(*(getattr(self, n) + getattr(other, n) for n in _NAMES))

    def decayed(
        self, new: LabelCounts, half_life_labels: float, half_life_uses: float
    ) -> LabelCounts:
        """These, fading as labels come in, and the new ones."""
        # A label is compared with the student at each use, and so with or without new labels.
        # Of audio without speech is fading what tells its share, and not what labels of speech have told.
        passed = {"labels": new.labels, "uses": new.uses, "all": new.heard + new.without_speech}
        half_lives = {"labels": half_life_labels, "uses": half_life_uses, "all": half_life_labels}
        keep = {name: 0.5 ** (count / half_lives[name]) for name, count in passed.items()}
        return LabelCounts(
            *(
                keep[_FADES_BY.get(name, "labels")] * getattr(self, name) + getattr(new, name)
                for name in _NAMES
            )
        )


_NAMES = tuple(one.name for one in fields(LabelCounts))
_FADES_BY = {
    **dict.fromkeys(("disagreements", "agreed_on", "uses"), "uses"),
    **dict.fromkeys(("heard", "without_speech"), "all"),
}


@dataclass(frozen=True)
class Observation:
    """A label that was made, or the student's edits of one that it met."""

    counts: LabelCounts
    made: Key | None = None
    """The label's; None of a use."""


def in_stream_order(
    made: Iterable[LabelRecord],
    compared: Iterable[Comparison],
    policy: HealthConfig,
    tokens_per_second: float,
) -> list[Observation]:
    """Of each label and each use of a batch, one after the other; a label comes before its use."""
    found = [
        (row.place, Observation(LabelCounts.of([row], policy, tokens_per_second), row.key))
        for row in made
    ]
    found += [
        (one.place, Observation(LabelCounts(disagreements=one.edits, agreed_on=one.tokens, uses=1)))
        for one in compared
    ]
    return [observation for _, observation in sorted(found, key=lambda pair: pair[0])]


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
        self.labels += counts.labels
        self.shown = self.shown.decayed(counts, _SHOWN_HALF_LIFE_LABELS, _SHOWN_HALF_LIFE_LABELS)
        self.recent = self.recent.decayed(counts, _ALARM_HALF_LIFE_LABELS, _ALARM_HALF_LIFE_USES)

    def faults(self, policy: HealthConfig, tokens_per_second: float) -> list[str]:
        """Which metrics are outside of their bands, for people."""
        metrics = shown_metrics(self.recent, tokens_per_second)
        found: list[str] = []
        no_speech = metrics["pseudo_label_no_speech_share"] or 0.0
        is_known = self.recent.without_speech >= _FEWEST_WITHOUT_SPEECH
        if is_known and no_speech > policy.max_no_speech_share:
            found.append(
                f"{no_speech:.0%} of them hear no speech "
                f"({_SETTINGS}.max_no_speech_share {policy.max_no_speech_share:.0%})"
            )
        if self.recent.labels < _FEWEST_LABELS:
            return found
        broken = metrics["pseudo_label_broken_share"]
        if broken is not None and broken > policy.max_broken_share:
            found.append(
                f"{broken:.0%} of them are empty, far too short or long, or repeat themselves "
                f"({_SETTINGS}.max_broken_share {policy.max_broken_share:.0%})"
            )
        ratio, (low, high) = metrics["pseudo_label_length_ratio"], policy.length_ratio_band
        if ratio is not None and not low <= ratio <= high:
            found.append(
                f"{ratio:.2f} x the tokens per second of the transcripts "
                f"({_SETTINGS}.length_ratio_band {low} to {high})"
            )
        disagreement = metrics["pseudo_label_disagreement"]
        most = policy.max_disagreement
        if most is not None and disagreement is not None and disagreement > most:
            found.append(
                f"the student differs from them by {disagreement:.0%} "
                f"({_SETTINGS}.max_disagreement {most:.0%})"
            )
        return found

    def forget_recent(self) -> None:
        """Judge by labels yet to come: the teacher is another one now."""
        self.recent = LabelCounts()


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None
