"""A transcript as words that can be cut out of it: as a label has them, and as they were written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from .transcripts import Line

_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, kana, Chinese characters: no spaces part words, and each letter is a word here."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")

Span = tuple[int, int]


@dataclass(frozen=True)
class Script:
    """A whole transcript."""

    text: str
    """As labels have it."""
    words: Sequence[Span]
    """Of the text."""
    written: str
    """As it was given."""
    owners: Sequence[Span | None]
    """Of each word, the written word that it is of; None where that is not known."""

    def word(self, place: int) -> str:
        """One word."""
        begin, end = self.words[place]
        return self.text[begin:end]

    def cut(self, first: int, last: int) -> tuple[str, str | None]:
        """Words from `first` up to and with `last`, and how they are written.

        None where that is not known, or a written word, as 1984, begins before them or ends after them.
        """
        text = " ".join(self.text[self.words[first][0] : self.words[last][1]].split())
        begin, end = self.owners[first], self.owners[last]
        before = self.owners[first - 1] if first else None
        after = self.owners[last + 1] if last + 1 < len(self.words) else None
        if begin is None or end is None or before == begin or after == end:
            return text, None
        return text, " ".join(self.written[begin[0] : end[1]].split())


def make_script(lines: Iterable[Line], apply: Callable[[str], str] | None) -> Script:
    """Of lines, each as `apply` makes it; None: as it is."""
    texts, written = list[str](), list[str]()
    words, owners = list[Span](), list[Span | None]()
    at = own_at = 0
    for line in lines:
        text = line.text if apply is None else apply(line.text)
        spans = [match.span() for match in _WORD.finditer(text)]
        own = [match.span() for match in _WORD.finditer(line.text)]
        of_own = (
            list(range(len(own))) if apply is None else _owners(text, spans, line.text, own, apply)
        )
        words += [(at + begin, at + end) for begin, end in spans]
        owners += [
            None if place is None else (own_at + own[place][0], own_at + own[place][1])
            for place in of_own
        ]
        texts.append(text)
        written.append(line.text)
        at += len(text) + 1
        own_at += len(line.text) + 1
    return Script("\n".join(texts), words, "\n".join(written), owners)


def _owners(
    text: str,
    spans: Sequence[Span],
    written: str,
    own: Sequence[Span],
    apply: Callable[[str], str],
) -> list[int | None]:
    """Of each word the one that was written: word by word a line becomes the same, more or less."""
    alone, places = list[str](), list[int]()
    for place, (begin, end) in enumerate(own):
        made = [match[0] for match in _WORD.finditer(apply(written[begin:end]))]
        alone += made
        places += [place] * len(made)
    found: list[int | None] = [None] * len(spans)
    whole = [text[begin:end] for begin, end in spans]
    for one in Levenshtein.opcodes(alone, whole):
        if one.tag == "equal":
            found[one.dest_start : one.dest_end] = places[one.src_start : one.src_end]
    return found
