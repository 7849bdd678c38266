"""The health of the labels: smoothed metrics, and the alarm when they leave their bands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.config.pseudo_label import HealthConfig
from asr.pseudo_labels.label_counts import AT, COUNTED, Decayed, LabelCounts
from asr.pseudo_labels.sharing.smoothing import Floats

_ALARM_HALF_LIFE_LABELS = 12.0
_ALARM_HALF_LIFE_USES = 4.0
"""Short: four broken labels ring the alarm."""
_FEWEST_LABELS = 4.0
"""Fewer say nothing: the first ones of a run, or of a teacher that went back."""
_FEWEST_WITHOUT_SPEECH = 8.0
"""Files without speech may come together; labels of them are not trained on, so there is time."""
_SHOWN_HALF_LIFE_LABELS = 100.0
_SETTINGS = "pseudo_label.health"


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
        self.labels += float(counts_FR[AT["labels"]].sum())
        half_life = _SHOWN_HALF_LIFE_LABELS
        self.shown = self.shown.faded(counts_FR, half_life, half_life)
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
