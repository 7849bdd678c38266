"""Forced alignment of a text in windows between anchors, with a star between words for what it does not say.

The cost of a stretch is what the text loses there to the model's own best path, in nats: 0 where the model
hears the text, and much where it hears something else, whether a word is wrong, lacks, or is one too many.

Shape suffixes: S encoder frames, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.model.alignment import best_path

from .anchors import Anchors
from .frames import Frames

STAR_COST = 0.7
"""Nats a frame: the star is whatever the model hears best, at this price."""
_ALIEN = 0.9 * STAR_COST
_WINDOW_SECONDS = 8.0
"""Cuts are taken so far apart at least."""
_MOST_CELLS = 200_000_000
"""Frames times targets: the memory of an alignment, in bytes."""


@dataclass(frozen=True)
class Placed:
    """A word's place."""

    word: int
    begin: int
    """First frame of its first letter."""
    end: int
    """Behind the last frame of its last one."""
    cost: float
    """Nats, of its frames."""


@dataclass(frozen=True)
class Placement:
    """Of the words of a text that have a place, in order."""

    words: list[Placed]
    costs_S: NDArray[np.float32]
    """What each frame loses, nats; of the path of the text."""
    paths_S: NDArray[np.float32]
    """Log-posteriors of that path."""

    def seconds(self, frame_seconds: float) -> float:
        """Of all frames."""
        return len(self.costs_S) * frame_seconds

    def between(self, place: int) -> float:
        """Nats that are lost between a placed word and the next one; -1: before the first one."""
        begin = self.words[place].end if place >= 0 else 0
        is_last = place + 1 >= len(self.words)
        end = len(self.costs_S) if is_last else self.words[place + 1].begin
        return float(self.costs_S[begin:end].sum())

    def is_alien(self, begin: int, end: int) -> NDArray[np.bool_]:
        """Of frames, whether something is heard that the text has not."""
        found: NDArray[np.bool_] = self.costs_S[begin:end] >= _ALIEN
        return found


def align(frames: Frames, spelt: Sequence[Sequence[int] | None], anchors: Anchors) -> Placement:
    """Place words, given as classes; in the memory of a window.

    Where there is too much of them, as where a chapter was not read, they have none, and the path is silent.
    """
    total = len(frames.log_posteriors_SK)
    costs_S, paths_S = np.zeros(total, np.float32), np.zeros(total, np.float32)
    placed = list[Placed]()
    for words, (begin, end) in _windows(anchors, len(spelt), total, frames.frame_seconds):
        chosen = [word for word in words if spelt[word] and not anchors.is_absent[word]]
        posteriors_SK = np.array(frames.log_posteriors_SK[begin:end], np.float32)
        own = [spelt[word] or () for word in chosen]
        path_S, scores_S = _path(posteriors_SK, own) or (None, posteriors_SK[:, 0])
        paths_S[begin:end] = scores_S
        costs_S[begin:end] = posteriors_SK.max(axis=1) - scores_S
        if path_S is None:
            continue
        for word, (first, last) in zip(chosen, _spans(path_S, own), strict=True):
            cost = float(costs_S[begin + first : begin + last].sum())
            placed.append(Placed(word, begin + first, begin + last, cost))
    return Placement(placed, costs_S, paths_S)


def _windows(
    anchors: Anchors, words: int, frames: int, frame_seconds: float
) -> Iterator[tuple[range, tuple[int, int]]]:
    """Words and the frames that they are in."""
    least, before = _WINDOW_SECONDS / frame_seconds, (0, 0)
    for cut in [*anchors.cuts, (words, frames)]:
        if cut[1] - before[1] >= least or cut[0] == words:
            yield range(before[0], cut[0]), (before[1], cut[1])
            before = cut


def _path(
    posteriors_SK: NDArray[np.float32], words: Sequence[Sequence[int]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Of each frame the target's place, and log-posterior with the star's price; None without room."""
    targets = sum(map(len, words)) + len(words) + 1
    if not words or len(posteriors_SK) * (2 * targets + 1) > _MOST_CELLS:
        return None
    star = posteriors_SK.shape[1]
    stars_S = posteriors_SK.max(axis=1) - STAR_COST
    with_star_SK = np.concatenate([posteriors_SK, stars_S[:, None]], axis=1)
    path_S = best_path(with_star_SK, words, star)
    if path_S is None:
        return None
    classes = np.array([star, *(one for word in words for one in (*word, star)), 0])
    return path_S, with_star_SK[np.arange(len(path_S)), classes[path_S]]


def _spans(path_S: NDArray[np.int64], words: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """First frame of each word, and the one behind its last."""
    sounding = np.flatnonzero(path_S >= 0)
    places = path_S[sounding]  # they increase
    place = 1  # behind the first star
    for word in words:
        last = place + len(word) - 1
        first_at, last_at = np.searchsorted(places, place), np.searchsorted(places, last, "right")
        yield int(sounding[first_at]), int(sounding[last_at - 1]) + 1
        place = last + 2
