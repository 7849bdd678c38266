"""Words in pieces that can be read: captions as broadcasters have them, with and without spaces between words.

At most two lines of 42 columns (a Chinese or Japanese character takes two), at least 1 s and at most 7 s each
where there is room; parted at pauses, and where a piece is full, after a sentence, a clause or a breath.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from asr.decoding.words import PAUSE_SECONDS, Cue, Transcription, Word, joined_text

_LINE_COLUMNS = 42
_LEAST_COLUMNS = 28
"""No piece is made shorter than this for a better place to part it."""
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 7.0
_BREATH_SECONDS = 0.25
_SENTENCE_ENDS, _CLAUSE_ENDS = tuple(".?!…。？！؟।"), tuple(",;:–—、，；：،")
_AFTER_A_CLAUSE = 12
"""Columns by which lines may differ more where the first ends with a clause."""


def cues_of(transcription: Transcription) -> list[Cue]:
    """A recording's words in pieces, each shown long enough to be seen, none over another."""
    cues = _pieces(transcription.words)
    found: list[Cue] = []
    for number, cue in enumerate(cues):
        begin, end = cue[0].begin, cue[-1].end
        if end - begin < _SHORTEST_SECONDS:
            # Later first, up to the next cue or the end of the recording; what is lacking then, earlier.
            after = cues[number + 1][0].begin if number + 1 < len(cues) else transcription.seconds
            end = max(end, min(begin + _SHORTEST_SECONDS, after))
            before = found[-1].end if found else 0.0
            begin = min(begin, max(end - _SHORTEST_SECONDS, before))
        found.append(Cue(begin, end, joined_text(cue)))
    return found


def lines_of(text: str) -> list[str]:
    """A piece's text in one line or two, about as long as each other; in one where it cannot be parted."""
    if _columns(text) <= _LINE_COLUMNS:
        return [text]
    best: tuple[int, list[str]] | None = None
    for place in range(1, len(text)):
        if not _may_part(text, place):
            continue
        lines = [text[:place].rstrip(), text[place:].lstrip()]
        widths = [_columns(line) for line in lines]
        if max(widths) <= _LINE_COLUMNS:
            bonus = _AFTER_A_CLAUSE * lines[0].endswith(_SENTENCE_ENDS + _CLAUSE_ENDS)
            cost = abs(widths[0] - widths[1]) - bonus
            if best is None or cost < best[0]:
                best = cost, lines
    return best[1] if best else [text]


def _pieces(words: Sequence[Word]) -> list[list[Word]]:
    cues: list[list[Word]] = []
    cue: list[Word] = []
    for word in words:
        while cue and not _goes_on(cue, word):
            is_pause = word.begin - cue[-1].end > PAUSE_SECONDS
            place = len(cue) if is_pause else _best_place(cue, word)
            cues.append(cue[:place])
            cue = cue[place:]
        cue.append(word)
    return [*cues, cue] if cue else cues


def _goes_on(cue: Sequence[Word], word: Word) -> bool:
    lines = lines_of(joined_text([*cue, word]))
    return (
        word.begin - cue[-1].end <= PAUSE_SECONDS
        and word.end - cue[0].begin <= _LONGEST_SECONDS
        and max(map(_columns, lines)) <= _LINE_COLUMNS
    )


def _best_place(cue: Sequence[Word], following: Word) -> int:
    """How many words of a full piece stay in it: up to a sentence's end, a clause's, a breath, or all."""
    words = [*cue, following]

    def merit(place: int) -> tuple[bool, bool, float, int]:
        last = words[place - 1]
        gap = words[place].begin - last.end
        ends = last.text.endswith(_SENTENCE_ENDS), last.text.endswith(_CLAUSE_ENDS)
        return *ends, gap if gap >= _BREATH_SECONDS else 0.0, place

    places = range(1, len(words))
    long_enough = [p for p in places if _columns(joined_text(words[:p])) >= _LEAST_COLUMNS]
    return max(long_enough, key=merit) if long_enough else len(cue)


def _columns(text: str) -> int:
    """Of a screen: two for a wide character, none for a mark above or below another."""
    return sum(
        0
        if unicodedata.category(c).startswith("M")
        else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _may_part(text: str, place: int) -> bool:
    """Whether a line may end before this character: at a space; where there are none, before any letter."""
    before, after = text[place - 1], text[place]
    if " " in text and not {unicodedata.east_asian_width(c) for c in (before, after)} <= {"W", "F"}:
        return after == " "
    # No line begins with what closes a sentence, or with a mark of the letter before.
    closes = after in _SENTENCE_ENDS + _CLAUSE_ENDS
    return not closes and not unicodedata.category(after).startswith("M")
