"""NIST's ctm: words with their times, by recording, or by segment of an stm."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from asr.errors import UserError
from asr.evaluation.transcript_lines import Transcript, numbered_lines

FORMAT_OPTIONS = "--format of hypotheses, --reference-format of references"


@dataclass(frozen=True)
class Word:
    """A word, and the middle of its time in seconds."""

    text: str
    middle: float


def read_ctm(path: Path) -> dict[str, list[Word]]:
    """The words of each file and channel (FILE-CHANNEL), by time."""
    found: dict[str, list[Word]] = {}
    for number, line in numbered_lines(path):
        if line.startswith(";;"):
            continue
        parts = line.split()
        try:
            source, channel, begin, duration, word = parts[:5]
            middle = float(begin) + float(duration) / 2
            if not 0 <= middle < math.inf or len(parts) > 6:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path}, line {number}: not a word with its time",
                "write file, channel, begin, duration (seconds), word, [confidence]",
            ) from None
        if word.startswith("<ALT"):
            raise UserError(
                f"{path}, line {number}: alternatives (<ALT>) are not supported", "keep one of them"
            )
        found.setdefault(f"{source}-{channel}", []).append(Word(word, middle))
    if not found:
        raise UserError(
            f"{path}: no word in it (read as ctm)", f"name its format: {FORMAT_OPTIONS}"
        )
    for words in found.values():
        words.sort(key=lambda word: word.middle)
    return found


def into_segments(
    words: Mapping[str, list[Word]], references: Mapping[str, Transcript]
) -> tuple[dict[str, Transcript], int]:
    """The words of a ctm by segment of an stm, and how many fall into none.

    A word belongs to the segment that has its middle; a recording that the ctm has not is left out. Raises
    UserError where segments of one recording overlap, or none is in the ctm.
    """
    found: dict[str, Transcript] = {}
    used = 0
    spans = sorted((one.span, name) for name, one in references.items() if one.span is not None)
    for (before, _), (span, name) in itertools.pairwise(spans):
        if span[0] == before[0] and span[1] < before[2]:
            raise UserError(
                f"segment '{name}' of the stm begins before the one at {before[1]:g} s of {span[0]} ends: "
                "a ctm's words cannot be told apart",
                "give each speaker a channel of his own",
            )
    for span, name in spans:
        source, begin, end = span
        if source not in words:
            continue
        first, last = (
            bisect.bisect_left(words[source], time, key=lambda word: word.middle)
            for time in (begin, end)
        )
        used += last - first
        text = " ".join(word.text for word in words[source][first:last])
        found[name] = replace(references[name], text=text)
    if not found:
        raise UserError(
            f"the ctm has the recordings {', '.join(sorted(words)[:3])} and the stm {spans[0][0][0]} (file "
            "and channel): none in common",
            "use the same names",
        )
    return found, sum(map(len, words.values())) - used
