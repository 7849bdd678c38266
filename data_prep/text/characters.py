"""What is said of the characters of transcripts when they are prepared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from asr.data.spelling import suggested_characters

_RARE, _SHOWN = 3, 5


def about_characters(texts: Iterable[str | None]) -> Iterator[str]:
    """One line: what to put into a recipe, what is seldom, which letters have two cases. None without texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text or "")
    for space in " \t\r\n":
        counts.pop(space, None)
    if not counts:
        return
    line = f"for a recipe whose tokens are characters: {suggested_characters(counts)}"
    rare = [f"{c!r} {n}" for c, n in reversed(counts.most_common()) if n <= _RARE][:_SHOWN]
    if rare and len(rare) < len(counts):
        line += f"; seldom: {', '.join(rare)}"
    letters = "".join(counts)
    if any(c.lower() != c and c.lower() in counts for c in letters):
        line += (
            "; letters in both cases are two tokens each (--normaliser lower or librispeech: one)"
        )
    if any(c.isdecimal() for c in letters):
        line += "; digits: --number-words LANGUAGE writes them as words"
    yield line
