"""What a run notes of each label, and of each use of one that is kept: rows that ranks exchange."""

from __future__ import annotations

from dataclasses import dataclass

from asr.pseudo_labels.label import Label

Key = tuple[int, int]
"""(pass, utterance): which of an utterance's labels."""


@dataclass(frozen=True)
class Errors:
    """Of a label against its reference."""

    word_errors: int
    words: int
    character_errors: int
    characters: int


@dataclass(frozen=True)
class LabelRecord:
    """A label that was made."""

    key: Key
    utterance: str
    seconds: float
    """Of speech, as recorded."""
    label: Label
    text: str
    change: float | None
    """Token error rate against the utterance's former label; None for its first."""
    errors: Errors | None
    """None where there is no reference."""


@dataclass(frozen=True)
class LabelUseRecord:
    """A kept label that the student met in a batch."""

    key: Key
    utterance: str
    use: int
    """From 1 in a cache; not counted in rounds."""
    label_hours: float
    """Of audio, when the label was made; the use's own less this is the label's age. NaN if there is none."""
    dropped: str | None
    """Why it was not trained on; None where it was."""
    is_last: bool = False
    """Known of a label in a cache, which is replaced now."""


def measured(reference: str, text: str) -> Errors | None:
    """The errors of a label, where its reference is known."""
    from asr.evaluation.edit_distance import error_counts

    if not reference:
        return None
    words, characters = error_counts([reference], [text])
    return Errors(
        words.errors, words.reference_length, characters.errors, characters.reference_length
    )
