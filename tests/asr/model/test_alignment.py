"""The path of a forced alignment is the most probable one: against all paths, by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from asr.model.alignment import best_path

STAR = 4


def spellings(words: list[list[int]], star: int | None) -> list[list[int]]:
    """What a path may spell: the words, with a star or none before, between and behind them."""
    choices = [False] if star is None else [False, True]
    found = []
    for with_stars in itertools.product(choices, repeat=len(words) + 1):
        between = [[STAR] * is_starred for is_starred in with_stars]
        pairs = zip(between, [*words, []], strict=True)
        found.append([one for stars, word in pairs for one in (*stars, *word)])
    return found


@pytest.mark.parametrize("star", [None, STAR])
@pytest.mark.parametrize("seed", range(12))
def test_the_path_is_the_best_one(seed: int, star: int | None) -> None:
    random = np.random.default_rng(seed)
    words = [random.integers(1, 4, size=random.integers(1, 3)).tolist() for _ in range(2)]
    log_SK = np.log(random.dirichlet(np.ones(5) * 0.5, size=6) + 1e-9).astype(np.float32)
    path_S = best_path(log_SK, words, star)
    scores = [
        sum(log_SK[frame, one] for frame, one in enumerate(path))
        for path in itertools.product(range(5), repeat=6)
        if [one for one, _ in itertools.groupby(path) if one] in spellings(words, star)
    ]
    if not scores:
        assert path_S is None
        return
    assert path_S is not None
    classes = (
        [*words[0], *words[1], 0] if star is None else [STAR, *words[0], STAR, *words[1], STAR, 0]
    )
    assert sum(log_SK[np.arange(6), np.array(classes)[path_S]]) == pytest.approx(
        max(scores), abs=1e-4
    )
    assert best_path(log_SK[:1], words, star) is None


def test_texts_without_words_are_silence() -> None:
    log_SK = np.log(np.full((3, 5), 0.2, np.float32))
    assert (best_path(log_SK, []) == -1).all()
    assert best_path(log_SK[:0], [[1]]) is None
