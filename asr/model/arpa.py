"""Lines of ARPA files, in which n-gram language models are written."""

from __future__ import annotations

import math
import re

_SECTION = re.compile(r"\\(\d+)-grams:")
_SUSPECT = re.compile(r"(?:^|\s)[+-]?(?:nan|inf)", re.IGNORECASE)


def section_order(line: str) -> int:
    """Of the n-grams that follow a line; 0 where it begins no section."""
    found = _SECTION.match(line)
    return int(found[1]) if found is not None else 0


def no_number(line: str, order: int) -> str | None:
    """The log10 probability or backoff weight of an n-gram that is NaN or infinity; None where both are sound.

    -infinity is: some write it for what never occurs.
    """
    if not order or _SUSPECT.search(line) is None:
        return None
    fields = line.split()
    for field in (*fields[:1], *fields[order + 1 : order + 2]):
        try:
            value = float(field)
        except ValueError:
            continue
        if math.isnan(value) or value == math.inf:
            return field
    return None
