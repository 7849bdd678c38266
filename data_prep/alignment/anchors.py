"""Where a text certainly is in a recording: runs of letters that were heard just so, in one order.

Edit distance over the whole would strew a text of a part over all of the audio; it is taken between runs alone,
to find words of which nothing is heard.

Shape suffixes: S encoder frames, K classes.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

_RUN, _SIDE = 8, 3
"""Letters that agree without a fault where a text is certain; of these so many on both sides of a cut."""
_NEAR, _MOST_DRIFT = 400, 0.5
"""Letters from one such run to another that supports it, and how much fewer or more may be heard."""
_ABSENT, _ABSENT_SHARE = 8, 0.8
"""Letters of the text in a row of which nothing is heard; the share of them in a word that is not there."""
_LEAST_ALIKE_SHARE, _FEWEST_TO_JUDGE = 0.015, 100
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Heard:
    """The best path of a recording."""

    letters: str
    frames: NDArray[np.int64]
    """Of each letter, the first of its token."""


@dataclass(frozen=True)
class Anchors:
    """Of a text in a recording."""

    cuts: list[tuple[int, int]]
    """(word, frame): words before it end before the frame, and others begin after it; both increase."""
    is_absent: NDArray[np.bool_]
    """Of each word, whether nothing was heard where it would be."""
    alike_share: float
    """Of the letters, the text's or those heard, whichever are fewer: those in runs that agree."""
    is_other: bool
    """Whether the text is of something else. Not said of a few words."""


def greedy_letters(log_posteriors_SK: NDArray[np.float16], letters: Sequence[str]) -> Heard:
    """Of classes that spell `letters`; in the memory of a block."""
    found, frames, before = list[str](), list[int](), 0
    for begin in range(0, len(log_posteriors_SK), _BLOCK):
        path_S = np.asarray(log_posteriors_SK[begin : begin + _BLOCK]).argmax(axis=1)
        is_new_S = (path_S != np.concatenate([[before], path_S[:-1]])) & (path_S != 0)
        before = int(path_S[-1])
        for frame in np.flatnonzero(is_new_S).tolist():
            own = letters[path_S[frame]]
            found.append(own)
            frames += [begin + frame] * len(own)
    return Heard("".join(found), np.array(frames, np.int64))


def find_anchors(heard: Heard, words: Sequence[str]) -> Anchors:
    """Of `words`, each in the letters of the alphabet (none of one that cannot be spelt)."""
    text = "".join(words)
    lengths = np.array([len(word) for word in words], np.int64)
    firsts = np.cumsum(lengths) - lengths
    seeds = _supported(_chain(_seeds(text, heard.letters)))
    place_of = np.full(len(text), -1, np.int64)
    for at, place in seeds:
        place_of[at : at + _RUN] = np.arange(place, place + _RUN)
    absent = np.zeros(len(text) + 1, np.int64)
    bounds = [(0, 0), *seeds, (len(text), len(heard.letters))]
    for (at, place), (next_at, next_place) in itertools.pairwise(bounds):
        if next_at - at >= _ABSENT:
            for one in Levenshtein.opcodes(heard.letters[place:next_place], text[at:next_at]):
                if one.tag == "insert" and one.dest_end - one.dest_start >= _ABSENT:
                    absent[at + one.dest_start + 1 : at + one.dest_end + 1] = 1
    total = np.cumsum(absent)
    absent_letters = total[firsts + lengths] - total[firsts]
    is_absent = (lengths > 0) & (absent_letters >= _ABSENT_SHARE * lengths)
    fewer = min(len(text), len(heard.letters))
    share = float((place_of >= 0).sum()) / max(1, fewer)
    is_other = fewer >= _FEWEST_TO_JUDGE and share < _LEAST_ALIKE_SHARE
    return Anchors(list(_cuts(heard, place_of, firsts, lengths)), is_absent, share, is_other)


Seed = tuple[int, int]
"""A letter of the text and the letter heard from which on they agree."""


def _seeds(text: str, heard: str) -> list[Seed]:
    """Runs that are in both once, in the order heard."""
    of_text, of_heard = (_once(letters) for letters in (text, heard))
    return [(of_text[run], place) for run, place in of_heard.items() if run in of_text]


def _once(letters: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for place in range(len(letters) - _RUN + 1):
        run = letters[place : place + _RUN]
        found[run] = -1 if run in found else place
    return {run: place for run, place in found.items() if place >= 0}


def _chain(seeds: Sequence[Seed]) -> list[Seed]:
    """The most of them that are in one order in both."""
    ends, lasts = list[int](), list[int]()
    before = [-1] * len(seeds)
    for place, (at, _) in enumerate(seeds):
        rank = bisect.bisect_left(ends, at)
        if rank == len(ends):
            ends.append(at)
            lasts.append(place)
        else:
            ends[rank], lasts[rank] = at, place
        before[place] = lasts[rank - 1] if rank else -1
    found = list[Seed]()
    place = lasts[-1] if lasts else -1
    while place >= 0:
        found.append(seeds[place])
        place = before[place]
    return found[::-1]


def _supported(chain: Sequence[Seed]) -> list[Seed]:
    """Those with another one near, at about the same distance in both: one alone may be chance."""

    def agree(one: Seed, other: Seed) -> bool:
        apart, heard_apart = other[0] - one[0], other[1] - one[1]
        return apart <= _NEAR and abs(apart - heard_apart) <= _MOST_DRIFT * max(apart, _RUN)

    with_next = [agree(one, other) for one, other in itertools.pairwise(chain)]
    is_near = zip([False, *with_next], [*with_next, False], strict=True)
    return [seed for seed, near in zip(chain, is_near, strict=False) if any(near)]


def _cuts(
    heard: Heard,
    place_of: NDArray[np.int64],
    firsts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> list[tuple[int, int]]:
    """Between words inside of what agrees."""
    found = []
    for word in range(1, len(firsts)):
        at = int(firsts[word])
        around = place_of[max(0, at - _SIDE) : at + _SIDE]
        is_certain = len(around) == 2 * _SIDE and around[0] >= 0
        if lengths[word] and is_certain and (np.diff(around) == 1).all():
            last, following = (int(heard.frames[around[_SIDE + side]]) for side in (-1, 0))
            if following - last > 1:
                found.append((word, (last + following + 1) // 2))
    return found
