"""The label policy: the teacher's hard labels, filtered, counted, and their health watched.

Made on clean speech, anew for every untranscribed update (online); how, label_decision.py says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from asr.config import PseudoLabelConfig
from asr.ctc import shortest_feasible
from asr.decode import Hypothesis


class Dropped(StrEnum):
    """Why a label was not trained on."""

    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    LOW_CONFIDENCE = "low_confidence"
    INFEASIBLE = "infeasible"


def judge(
    hypothesis: Hypothesis, seconds: float, student_frames: int, policy: PseudoLabelConfig
) -> Dropped | None:
    """The first reason to drop a label, or None to train on it.

    `seconds` is the speech as recorded; `student_frames` the student's own output length, after
    speed perturbation, since that is what CTC must fit the label into.
    """
    tokens = hypothesis.tokens
    if not tokens:
        return Dropped.EMPTY
    if len(tokens) < policy.min_tokens_per_second * seconds:
        return Dropped.TOO_SHORT
    if len(tokens) > policy.max_tokens_per_second * seconds:
        return Dropped.TOO_LONG
    if hypothesis.confidence < policy.min_confidence:
        return Dropped.LOW_CONFIDENCE
    if shortest_feasible(tokens) > student_frames:
        return Dropped.INFEASIBLE
    return None


@dataclass
class LabelCounts:
    """What one global batch says about its labels; additive over micro-batches and ranks."""

    labels: int = 0
    empty: int = 0
    tokens: int = 0
    seconds: float = 0.0
    word_errors: int = 0
    words: int = 0
    character_errors: int = 0
    characters: int = 0
    dropped_empty: int = 0
    dropped_too_short: int = 0
    dropped_too_long: int = 0
    dropped_low_confidence: int = 0
    dropped_infeasible: int = 0

    def add(self, hypothesis: Hypothesis, seconds: float, dropped: Dropped | None) -> None:
        self.labels += 1
        self.empty += not hypothesis.tokens
        self.tokens += len(hypothesis.tokens)
        self.seconds += seconds
        if dropped is not None:
            name = f"dropped_{dropped}"
            setattr(self, name, getattr(self, name) + 1)

    def add_errors(self, references: Sequence[str], hypotheses: Sequence[str]) -> None:
        """Measure labels against references, where those are known (non-empty)."""
        from asr.edits import error_counts

        known = [(r, h) for r, h in zip(references, hypotheses, strict=True) if r]
        if known:
            words, characters = error_counts(*zip(*known, strict=True))
            self.word_errors += words.errors
            self.words += words.reference_length
            self.character_errors += characters.errors
            self.characters += characters.reference_length

    @property
    def dropped(self) -> dict[str, int]:
        """Reasons and counts, reasons without labels left out."""
        counts = {str(reason): int(getattr(self, f"dropped_{reason}")) for reason in Dropped}
        return {reason: count for reason, count in counts.items() if count}


@dataclass
class LabelHealth:
    """Smoothed figures of the labels, and the alarm when they leave their band.

    The smoothing has a half-life of `_HALF_LIFE_LABELS` labels. State is plain numbers: a checkpoint
    holds `asdict(self)`.
    """

    empty: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    labels: float = 0.0
    word_errors: float = 0.0
    words: float = 0.0
    character_errors: float = 0.0
    characters: float = 0.0
    alarmed: bool = False

    def observe(self, counts: LabelCounts) -> None:
        keep = 0.5 ** (counts.labels / _HALF_LIFE_LABELS)
        for name, value in asdict(counts).items():
            if hasattr(self, name):
                setattr(self, name, keep * getattr(self, name) + value)

    def figures(self, tokens_per_second: float) -> dict[str, float | None]:
        """Empty share, length ratio against the transcripts, WER and CER in percent."""
        return {
            "pseudo_label_empty_share": _ratio(self.empty, self.labels),
            "pseudo_label_length_ratio": _ratio(self.tokens, self.seconds * tokens_per_second),
            "pseudo_label_wer": _ratio(100 * self.word_errors, self.words),
            "pseudo_label_cer": _ratio(100 * self.character_errors, self.characters),
        }

    def alarm(self, policy: PseudoLabelConfig, tokens_per_second: float) -> str | None:
        """A message when the labels become unhealthy; once, until they are healthy again."""
        figures = self.figures(tokens_per_second)
        empty_share, ratio = (
            figures["pseudo_label_empty_share"],
            figures["pseudo_label_length_ratio"],
        )
        low, high = policy.length_ratio_band
        faults = []
        if empty_share is not None and empty_share > policy.max_empty_share:
            faults.append(
                f"{empty_share:.0%} of them are empty (limit {policy.max_empty_share:.0%})"
            )
        if ratio is not None and not low <= ratio <= high:
            faults.append(
                f"{ratio:.2f} x the tokens per second of the transcripts (band {low} to {high})"
            )
        newly, self.alarmed = bool(faults) and not self.alarmed, bool(faults)
        if not newly:
            return None
        return (
            f"pseudo-labels look unhealthy: {'; '.join(faults)}. Start pseudo-labelling later "
            "(pseudo_label.start_hours), or lower the untranscribed share"
        )


_HALF_LIFE_LABELS = 100.0


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None
