"""Words with times: tokens joined at the spaces that their pieces hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from asr.errors import UserError
from asr.model.tokenizer import Tokenizer

TIMES_NEED_A_HEAD = "a model that was trained with model.ctc_weight has them by alignment"
"""Of words that an encoder-decoder without a CTC head has written."""


@dataclass(frozen=True)
class Word:
    """A word of a transcript."""

    text: str
    begin: float
    """Seconds from the start of the recording."""
    end: float
    confidence: float
    """Mean over its tokens, from 0 to 1."""


@dataclass(frozen=True)
class TimedToken:
    """A token of a path, no blank."""

    token: int
    begin: float
    end: float
    confidence: float


class Cue(NamedTuple):
    """A piece of a transcript, as captions show it."""

    begin: float
    """Seconds from the start of the recording."""
    end: float
    text: str


@dataclass(frozen=True)
class Transcription:
    """What was recognised in a file."""

    file: str
    seconds: float
    """Length of the recording."""
    words: list[Word]
    incomplete: str = ""
    """What is wrong with the file's length: this is of what could be read. Empty where nothing is."""

    @property
    def text(self) -> str:
        """The words, with spaces between them."""
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        """Mean over the words; 0 without any."""
        return math.fsum(w.confidence for w in self.words) / max(1, len(self.words))

    @property
    def segments(self) -> list[Cue]:
        """The words in pieces: until a pause, or until one is long enough to be read."""
        from asr.decoding.captions import cues_of

        return cues_of(self)

    def to(self, form: str) -> str:
        """As txt, json, srt, vtt or ctm. Raises UserError for another form."""
        from asr.decoding.captions import FORMATS

        if form not in FORMATS:
            raise UserError(
                f"no form '{form}' of a transcript", f"name one of {', '.join(FORMATS)}"
            )
        return FORMATS[form](self)


def words_of(tokens: Iterable[TimedToken], tokenizer: Tokenizer) -> list[Word]:
    """Tokens joined to words at the spaces that their pieces hold."""
    words: list[Word] = []
    parts: list[TimedToken] = []
    text = ""

    def finish() -> None:
        nonlocal text
        if text:
            confidence = math.fsum(part.confidence for part in parts) / len(parts)
            words.append(Word(text, parts[0].begin, parts[-1].end, confidence))
        parts.clear()
        text = ""

    for token in tokens:
        before, *others = tokenizer.piece(token.token).split(" ")
        text += before
        if before:
            parts.append(token)
        for piece in others:
            finish()
            text = piece
            if piece:
                parts.append(token)
    finish()
    return words
