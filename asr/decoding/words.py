"""Words with times: tokens joined at the spaces that their pieces hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

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
    joined: bool = False
    """Whether no space stands before it: it goes on where a language, or a model, writes no spaces."""

    def to_record(self) -> dict[str, Any]:
        """For JSON; `joined` only where it is so."""
        return {k: v for k, v in asdict(self).items() if k != "joined" or v}


def joined_text(words: Iterable[Word]) -> str:
    """Words as they are written, with a space between any two that have one."""
    return "".join(("" if word.joined else " ") + word.text for word in words).lstrip(" ")


PAUSE_SECONDS = 0.8
"""A pause between words, and so no word goes on after it."""
_WORD_SECONDS, _WORD_CHARACTERS = 7.0, 84
"""Longer than this is no word but a text without spaces: each of its tokens stands alone."""


def is_no_word(text: str, seconds: float) -> bool:
    """Whether what stands between two spaces is too long for a word."""
    return seconds > _WORD_SECONDS or len(text) > _WORD_CHARACTERS


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
        """The words, with spaces between them where there are any."""
        return joined_text(self.words)

    @property
    def confidence(self) -> float:
        """Mean over the words; 0 without any."""
        return math.fsum(w.confidence for w in self.words) / max(1, len(self.words))

    @property
    def segments(self) -> list[Cue]:
        """The words in pieces: until a pause, or until one is long enough to be read."""
        from asr.decoding.captions.cues import cues_of

        return cues_of(self)

    def to(self, form: str) -> str:
        """As txt, json, srt, vtt or ctm. Raises UserError for another form."""
        from asr.decoding.captions.formats import FORMATS

        if form not in FORMATS:
            raise UserError(
                f"no form '{form}' of a transcript", f"name one of {', '.join(FORMATS)}"
            )
        return FORMATS[form](self)


def words_of(tokens: Iterable[TimedToken], tokenizer: Tokenizer) -> list[Word]:
    """Tokens joined to words at the spaces that their pieces hold.

    Where no space is for long, as in Chinese or Thai, parts end at pauses too; what is still too long for a
    word falls into its tokens.
    """
    words: list[Word] = []
    parts: list[tuple[TimedToken, str]] = []

    def finish() -> None:
        text = "".join(piece for _, piece in parts)
        if text and is_no_word(text, parts[-1][0].end - parts[0][0].begin):
            for number, part in enumerate(parts):
                words.append(_word([part], goes_on or number > 0))
        elif text:
            words.append(_word(parts, goes_on))
        parts.clear()

    goes_on = False
    for token in tokens:
        before, *others = tokenizer.piece(token.token).split(" ")
        if before:
            if parts and token.begin - parts[-1][0].end > PAUSE_SECONDS:
                finish()
                goes_on = True
            parts.append((token, before))
        for piece in others:
            finish()
            goes_on = False
            if piece:
                parts.append((token, piece))
    finish()
    return words


def _word(parts: Sequence[tuple[TimedToken, str]], joined: bool) -> Word:
    confidence = math.fsum(token.confidence for token, _ in parts) / len(parts)
    text = "".join(piece for _, piece in parts)
    return Word(text, parts[0][0].begin, parts[-1][0].end, confidence, joined)
