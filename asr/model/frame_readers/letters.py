"""What is heard of a text: its letters and digits, in one case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_SPECIAL = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")


def letters_of(piece: str) -> str:
    """Small letters (with their marks) and digits; none of punctuation, spaces, or tokens like <unk>."""
    if _SPECIAL.fullmatch(piece.strip("\N{LOWER ONE EIGHTH BLOCK} ")):
        return ""
    return heard(unicodedata.normalize("NFKC", piece.casefold()))


def heard(text: str) -> str:
    """Without what is no letter, mark or digit."""
    return "".join(one for one in text if unicodedata.category(one)[0] in "LMN")


def forms(word: str) -> Iterator[str]:
    """Ways to write a word that sound alike: in small letters and capitals, without punctuation and accents."""
    plain = unicodedata.normalize("NFKD", word)
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    for form in (word, plain):
        for cased in (form.lower(), form, form.upper()):
            yield cased
            if heard(cased):
                yield heard(cased)
