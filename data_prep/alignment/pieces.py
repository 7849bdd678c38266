"""From placed words to pieces whose text is trusted: nothing that the model contradicts is in them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..segmentation.utterances import Limits
from ..segmentation.voice_activity import FRAME_SECONDS, Activity
from .anchors import Anchors
from .forced import Placed, Placement

_MOST_OF_LETTER, _MOST_OF_WORD, _MOST_BETWEEN = 2.0, 12.0, 0.3
"""Nats that a word may lose to what the model hears, by its letters and in all; and silence between two words.
Calibrated with models that read 21 % and 31 % of letters wrong: tests/data_prep/test_align_measured.py."""
_LONGEST_LETTER_SECONDS = 1.0
"""A word that stops for so long in the middle is not one word."""

NOT_SPELT, NOT_HEARD, POOR, SHORT, NOT_IN_TEXT = (
    "cannot_be_spelt",
    "text_not_heard",
    "poor_score",
    "too_short",
    "audio_not_in_text",
)


@dataclass(frozen=True)
class Piece:
    """Words of the text, and where they are."""

    first: int
    last: int
    """Places of words in the text."""
    begin: float
    end: float
    """Seconds."""
    confidence: float
    """The model's probability of the path of the text, to the power of one over its tokens."""


@dataclass(frozen=True)
class Stretch:
    """What is left out, of the text or of the audio."""

    reason: str
    begin: float
    """Seconds; where it would be, of text."""
    end: float
    first: int = 0
    last: int = -1
    """Places of words in the text; none of audio that is not in it."""


@dataclass(frozen=True)
class Choice:
    """Of a recording's words those that are trusted."""

    placement: Placement
    spelt: Sequence[Sequence[int] | None]
    anchors: Anchors
    activity: Activity
    limits: Limits
    frame_seconds: float

    def pieces(self) -> list[Piece]:
        """In order, none over another."""
        found = list[Piece]()
        for run in self._runs():
            for own in self._short_enough(run):
                begin = self._edge(own[0], -1, found[-1].end if found else 0.0)
                end = self._edge(own[-1], 1, self.placement.seconds(self.frame_seconds))
                if end - begin >= self.limits.min_seconds:
                    words = [self.placement.words[place] for place in own]
                    sure = self._confidence(own)
                    found.append(Piece(words[0].word, words[-1].word, begin, end, sure))
        return found

    def left_out(self, pieces: Sequence[Piece]) -> Iterator[Stretch]:
        """Words in no piece, and audio that the text does not say, by the time at which they are."""
        covered = np.zeros(len(self.spelt), np.bool_)
        for piece in pieces:
            covered[piece.first : piece.last + 1] = True
        placed = {one.word: one for one in self.placement.words}
        reasons, times, at = list[str](), list[tuple[float, float]](), 0.0
        for word, is_covered in enumerate(covered.tolist()):
            one = placed.get(word)
            begin, end = (at, at) if one is None else (one.begin, one.end)
            times.append((begin * self.frame_seconds, end * self.frame_seconds))
            reasons.append("" if is_covered else self._reason(word, one))
            at = end
        found = list(self._not_in_text())
        for reason, group in itertools.groupby(range(len(reasons)), reasons.__getitem__):
            words = list(group)
            if reason:
                span = times[words[0]][0], times[words[-1]][1]
                found.append(Stretch(reason, *span, words[0], words[-1]))
        yield from sorted(found, key=lambda one: one.begin)

    def _reason(self, word: int, placed: Placed | None) -> str:
        if self.spelt[word] is None:
            return NOT_SPELT
        if not self.spelt[word]:
            return ""  # a dash
        if placed is None:
            return NOT_HEARD
        return SHORT if self._is_trusted(placed) else POOR

    def _not_in_text(self) -> Iterator[Stretch]:
        words = self.placement.words
        for place in range(-1, len(words)):
            begin = words[place].end if place >= 0 else 0
            end = words[place + 1].begin if place + 1 < len(words) else len(self.placement.costs_S)
            if self.placement.between(place) <= _MOST_BETWEEN:
                continue
            alien = begin + np.flatnonzero(self.placement.is_alien(begin, end))
            if len(alien):
                first, last = int(alien[0]), int(alien[-1]) + 1
                yield Stretch(NOT_IN_TEXT, first * self.frame_seconds, last * self.frame_seconds)

    def _is_trusted(self, one: Placed) -> bool:
        letters = len(self.spelt[one.word] or ())
        most = min(_MOST_OF_WORD, letters * _MOST_OF_LETTER)
        longest = letters * _LONGEST_LETTER_SECONDS
        return one.cost <= most and (one.end - one.begin) * self.frame_seconds <= longest

    def _runs(self) -> Iterator[list[int]]:
        """Places of trusted words with nothing between them, neither of the text nor in the audio."""
        run = list[int]()
        words = self.placement.words
        for place, one in enumerate(words):
            if run and not self._follows(place):
                yield run
                run = []
            if self._is_trusted(one):
                run.append(place)
            elif run:
                yield run
                run = []
        if run:
            yield run

    def _follows(self, place: int) -> bool:
        before, one = self.placement.words[place - 1], self.placement.words[place]
        # What cannot be heard, as a dash, may stand between them.
        skipped = range(before.word + 1, one.word)
        is_next = all(self.spelt[word] == [] for word in skipped)
        return is_next and self.placement.between(place - 1) <= _MOST_BETWEEN

    def _short_enough(self, run: list[int]) -> Iterator[list[int]]:
        """Cut at the longest pauses of the last half of what fits."""
        words, second = self.placement.words, 1 / self.frame_seconds
        longest = (self.limits.max_seconds - 2 * self.limits.pad_seconds) * second
        while words[run[-1]].end - words[run[0]].begin > longest:
            begin = words[run[0]].begin
            fitting = [n for n in range(1, len(run)) if words[run[n - 1]].end - begin <= longest]
            if not fitting:  # one word
                return
            late = [n for n in fitting if words[run[n]].begin - begin >= longest / 2] or fitting
            pauses = [words[run[n]].begin - words[run[n - 1]].end for n in late]
            cut = late[int(np.argmax(pauses))]
            yield run[:cut]
            run = run[cut:]
        yield run

    def _edge(self, place: int, side: int, bound: float) -> float:
        """Where a piece begins (side -1) or ends, seconds: in the pause, or between this word and what is next.

        That is the next word, or speech that is not in the text; `bound` is where the piece before ends.
        """
        words, alien = self.placement.words, self.placement.is_alien
        one = words[place]
        if side < 0:
            near, far = one.begin, words[place - 1].end if place else 0
            others = far + np.flatnonzero(alien(far, near))
            far = int(others[-1]) + 1 if len(others) else far
        else:
            near = one.end
            far = words[place + 1].begin if place + 1 < len(words) else len(self.placement.costs_S)
            others = near + np.flatnonzero(alien(near, far))
            far = int(others[0]) if len(others) else far
        room, pad = abs(far - near) * self.frame_seconds, self.limits.pad_seconds
        at = near * self.frame_seconds
        found = at + side * pad if room >= 2 * pad else self._quietest(at, at + side * room)
        return max(bound, found) if side < 0 else min(bound, found)

    def _quietest(self, one: float, other: float) -> float:
        """Between two times."""
        begin, end = sorted((one, other))
        first = round(begin / FRAME_SECONDS)
        energies_W = self.activity.energies_W[first : round(end / FRAME_SECONDS) + 1]
        if not len(energies_W):
            return (begin + end) / 2
        at = (first + int(energies_W.argmin()) + 0.5) * FRAME_SECONDS
        return min(max(at, begin), end)

    def _confidence(self, run: Sequence[int]) -> float:
        words = [self.placement.words[place] for place in run]
        path = float(self.placement.paths_S[words[0].begin : words[-1].end].sum())
        tokens = sum(len(self.spelt[one.word] or ()) for one in words)
        return math.exp(path / max(1, tokens))
