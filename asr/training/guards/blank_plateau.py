"""The plateau on which a student with a CTC head writes blanks alone: named while it lasts.

All CTC networks pass it: blanks everywhere are the cheapest output of one that cannot tell tokens apart yet.
With a new head on a trained encoder, or a learning rate that does not suit, it may last for hours.
"""

from __future__ import annotations

from dataclasses import dataclass

from asr.training.batch_stats import BatchStats

_HALF_LIFE_SECONDS = 60.0
"""Of transcribed audio, in what is watched."""
_EMPTY, _SPOKEN = 0.02, 0.1
"""Greedy tokens over those of the transcripts: below the one the output is empty, above the other no more."""
_FIRST_TOLD_HOURS = 0.1
"""Of audio on the plateau; then at twice that, and so on."""
_HELP = (
    "what helps where it lasts: of a pretrained encoder, training its new head alone at first "
    "(model.freeze_encoder_until_hours, model.head_learning_rate_factor) and no more model.dropout than it was "
    "trained with (Whisper: none); else a longer optimizer.warmup_hours, a lower learning rate, more audio an "
    "update (batch.batch_seconds), or trained weights (init_from)"
)


@dataclass
class BlankPlateau:
    """Whether the student is on it. Plain numbers: a checkpoint holds `asdict(self)`."""

    blank_frames: float = 0.0
    frames: float = 0.0
    """Of transcribed speech, as the student trains on it; these and the next two fade."""
    tokens: float = 0.0
    """Of its greedy output."""
    transcript_tokens: float = 0.0
    began_hours: float | None = None
    """Of audio, where the output became empty; None where it is not."""
    next_told_hours: float = _FIRST_TOLD_HOURS
    """On the plateau, when it is said next."""

    def observe(self, stats: BatchStats, hours: float) -> list[str]:
        """A global batch, over all ranks, that ended at `hours` of audio. Lines for people."""
        if not stats.labelled_frames:
            return []
        keep = 0.5 ** (stats.labelled_seconds / _HALF_LIFE_SECONDS)
        self.blank_frames = keep * self.blank_frames + stats.labelled_blank_frames
        self.frames = keep * self.frames + stats.labelled_frames
        self.tokens = keep * self.tokens + stats.labelled_tokens
        self.transcript_tokens = keep * self.transcript_tokens + stats.transcript_tokens
        spoken = self.tokens / max(1.0, self.transcript_tokens)
        if self.began_hours is None:
            if spoken < _EMPTY:
                self.began_hours = hours
            return []
        lasted = hours - self.began_hours
        if spoken > _SPOKEN:
            was_told = self.next_told_hours > _FIRST_TOLD_HOURS
            self.began_hours, self.next_told_hours = None, _FIRST_TOLD_HOURS
            left = f"{hours:8.2f} h  plateau left after {lasted:.2f} h: the student writes tokens again"
            return [left] if was_told else []
        if lasted < self.next_told_hours:
            return []
        while self.next_told_hours <= lasted:
            self.next_told_hours *= 2.0
        return [
            f"{hours:8.2f} h  plateau: for {lasted:.2f} h the student has written blanks alone "
            f"({100 * self.blank_share:.1f} % of the frames of transcribed speech); {_HELP}"
        ]

    @property
    def blank_share(self) -> float:
        """Of the frames."""
        return self.blank_frames / max(1.0, self.frames)

    def metrics(self, hours: float) -> dict[str, float | None]:
        """Of a metrics line; `blank_plateau_hours` is None where the student is not on it."""
        return {
            "student_blank_share": self.blank_share if self.frames else None,
            "blank_plateau_hours": None if self.began_hours is None else hours - self.began_hours,
        }
