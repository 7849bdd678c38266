"""What random draws are for, and their seeds: all that is random is seeded by its place in the run.

So a run that resumes needs the state of no generator, and what is drawn depends on no batch and no rank.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class SeedTag(IntEnum):
    """What a draw is for. The values are part of every run: none ever changes, or is used again."""

    LABELLED = 1
    """Passes over the labelled corpus, and the augmentation of its utterances."""
    UNTRANSCRIBED = 2
    INTERLEAVING = 3
    """The order of labelled and untranscribed groups."""
    DROPOUT = 4
    LAYER_DROP = 5
    CACHE_ORDER = 6
    CACHE_REPLACEMENT = 7
    CACHE_SPEED = 8
    SAMPLED_LABELS = 9
    ROUNDS = 10
    """Which utterances a round labels."""
    GRADIENT_SKETCH = 11
    """Signs with which a gradient is folded, where the noise scale is measured."""
    GENERATION = 12
    """Tokens that an encoder-decoder draws where its likeliest ones are not believed."""
    SOUND = 20
    """Noise, rooms, bands, codecs and volume of the student's speech."""
    SET_WEIGHTS = 40
    """Which utterances of a set a pass plays that plays a part of it."""
    SPANS = 50
    """Spans of frames that are masked where representations are predicted."""
    FADE = 51
    """From what to what a view of speech becomes louder or softer."""
    EXPORT_CHECK = 60
    """Noise by which an exported model is checked where there is no speech."""


def generator(seed: int, tag: SeedTag, *place: int) -> np.random.Generator:
    """A generator of a run's `seed`, for one purpose, at one place of the run."""
    return np.random.default_rng([seed, tag, *place])


def hash_seed(*numbers: int) -> int:
    """One seed for torch, of 63 bits, from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
