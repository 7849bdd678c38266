"""Words with times: tokens joined at the spaces that their pieces hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from asr.model.tokenizer import Tokenizer


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


@dataclass(frozen=True)
class Transcription:
    """What was recognised in a file."""

    file: str
    seconds: float
    words: list[Word]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        """Mean over the words; 0 without any."""
        return math.fsum(w.confidence for w in self.words) / max(1, len(self.words))


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
