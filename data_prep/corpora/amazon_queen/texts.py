"""The game's texts as transcripts: as they are written, and as letters alone."""

from __future__ import annotations

import re
import string
import unicodedata

CHARACTERS = string.ascii_uppercase + "'"
"""Characters that a transcript of letters may hold; the space is one too."""

_TRADE_MARK = "^_"  # two glyphs of the game's font
_SOUND = re.compile(r"<[^<>]*>|\([^()]*\)")  # <gulp>, (sigh)
_ORNAMENT = re.compile(r"@+")  # hearts of the game's font
_LONE_APOSTROPHE = re.compile(r"(?<![^\W_])'+(?![^\W_])")
_NUMBER = re.compile(r"(?<!\w)(?<!\d[.:])\d+(?![\w']|[.:]\d)")  # not of 1.5, 10:30, 1940's

# fmt: off
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
         "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# fmt: on


def written_text(text: str) -> str:
    """Cased and punctuated, less what nobody says: described sounds, and ornaments of the game's font."""
    bare = _ORNAMENT.sub(" ", _SOUND.sub(" ", text.replace(_TRADE_MARK, "")))
    return " ".join(bare.split())


def letters_text(written: str) -> str:
    """In upper case, without punctuation but apostrophes at a letter, numbers up to 99 and years spelt out.

    What is not of CHARACTERS and no punctuation (other numbers among it) stays, so that validation finds it.
    """
    spelt = _NUMBER.sub(lambda match: _spell(match[0]), written).replace("’", "'").upper()
    kept = [" " if unicodedata.category(c)[0] in "PSZC" and c != "'" else c for c in spelt]
    return " ".join(_LONE_APOSTROPHE.sub("", "".join(kept)).split())


def _spell(digits: str) -> str:
    """A number below 100, or a year said as two (1844); others come back as they are."""
    if digits != str(int(digits)):
        return digits
    if len(digits) == 4 and digits[0] == "1" and digits[2] != "0":
        return f"{_below_100(int(digits[:2]))} {_below_100(int(digits[2:]))}"
    return _below_100(int(digits)) if len(digits) <= 2 else digits


def _below_100(number: int) -> str:
    if number < 20:
        return _ONES[number]
    tens = _TENS[number // 10 - 2]
    return tens if number % 10 == 0 else f"{tens} {_ONES[number % 10]}"
