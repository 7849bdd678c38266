"""Digits as words, by the num2words package."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

from asr.errors import UserError

EXTRA = "asr-ema[numbers]"
_POINT_LANGUAGES = ("en", "ja", "ko", "th", "te", "kn", "he")
"""Where 1.5 is one and a half, and 1,000 a thousand; elsewhere it is the other way round."""
_YEARS = range(1100, 2000)
_HARD_SPACES = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
_NUMBER = (
    r"(?<![\w.,:/])\d+(?:[.,{spaces}]\d{{3}}(?!\d))*(?:[.,]\d+)?(?:st|nd|rd|th)?(?![\w/]|[.,:]\d)"
)
_MOST_DIGITS = 30


def make_number_words(language: str) -> tuple[str, Callable[[str], str]]:
    """Name and version of what writes a text's numbers as words of `language`, as in `de`, and itself.

    Whole numbers, with or without separated thousands, decimal fractions; in English also 1st and years
    from 1100 to 1999. What stands among letters or in times, dates and fractions (B2, 10:30, 1/2) stays. Raises
    UserError without the package, or for a language that it has not.
    """
    try:
        import num2words
    except ImportError:
        raise UserError(
            f"--number-words {language} needs a package that is not installed",
            f"pip install '{EXTRA}'",
        ) from None
    from importlib.metadata import version

    name = language.replace("-", "_")
    known = num2words.CONVERTER_CLASSES
    if name not in known and name.lower() not in known:
        raise UserError(
            f"--number-words {language}: num2words has no such language",
            f"name one of {' '.join(sorted(known))}",
        )
    name = name if name in known else name.lower()
    write = lru_cache(maxsize=100_000)(partial(_words, num2words.num2words, name))
    # "5 100 m races" are five of a hundred in English, and 5100 in French.
    spaces = _HARD_SPACES + ("" if name.startswith(_POINT_LANGUAGES) else " ")
    numbers = re.compile(_NUMBER.format(spaces=spaces))
    return (
        f"num2words-{name}/{version('num2words')}",
        lambda text: numbers.sub(lambda match: write(match[0]), text),
    )


def _words(convert: Callable[..., str], language: str, number: str) -> str:
    """The words of one number, without punctuation; the number where the package cannot say it."""
    is_english = language.startswith("en")
    digits = number.rstrip("sthndr")
    is_ordinal = digits != number
    if is_ordinal and not is_english:
        return number
    is_plain = digits.isascii() and digits.isdecimal()
    if is_plain and len(digits) > 1 and digits[0] == "0":
        return number  # 007 is no number but a name
    value = _value(digits, language.startswith(_POINT_LANGUAGES))
    if value is None or len(digits) > _MOST_DIGITS:
        return number
    kind = "cardinal"
    if is_ordinal:
        kind = "ordinal"
    elif is_english and is_plain and int(digits) in _YEARS:
        kind = "year"
    try:
        exact: int | str = int(value) if value.isdecimal() else value
        words = convert(exact, lang=language, to=kind)
    except (NotImplementedError, OverflowError, ValueError, TypeError, KeyError, ArithmeticError):
        return number
    return " ".join(words.replace(",", "").replace("-", " ").split())


def _value(digits: str, has_point: bool) -> str | None:
    """As Python writes it; None where the separators make no number."""
    thousands, decimal = (",", ".") if has_point else (".", ",")
    whole, mark, fraction = digits.partition(decimal)
    if decimal in fraction or thousands in fraction:
        return None
    groups = re.split(rf"[{re.escape(thousands)}{_HARD_SPACES} ]", whole)
    if len(groups) > 1 and (len(groups[0]) > 3 or any(len(group) != 3 for group in groups[1:])):
        return None
    plain = "".join(groups)
    if not plain.isdecimal():
        return None
    plain = str(int(plain))
    return f"{plain}.{fraction}" if mark else plain
