"""What a run notes of each label, and of each use of one that is kept: rows of a rank."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    place: int = 0
    """Of its segment in the stream, counted from the batch's first; or among those of a part of a round."""
    is_without_speech: bool = False
    """By its blanks, which are more than those of speech, or by an encoder-decoder: of the audio, it seems."""
    wer_estimate: float | None = None
    """In percent, by its confidence and the dev sets; None where they say nothing."""


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
    place: int = 0
    """As a label's."""


@dataclass(frozen=True)
class Comparison:
    """A label beside the student's own greedy path, as it trains."""

    place: int
    """Of the segment in the stream, counted from the batch's first."""
    edits: int
    """Of tokens."""
    tokens: int
    """Of the label."""


@dataclass
class BatchRecords:
    """What a rank notes in a batch."""

    made: list[LabelRecord] = field(default_factory=list)
    uses: list[LabelUseRecord] = field(default_factory=list)
    compared: list[Comparison] = field(default_factory=list)


def measured(reference: str, text: str) -> Errors | None:
    """The errors of a label, where its reference is known."""
    from asr.evaluation.edit_distance import error_counts

    if not reference:
        return None
    words, characters = error_counts([reference], [text])
    return Errors(
        words.errors, words.reference_length, characters.errors, characters.reference_length
    )
