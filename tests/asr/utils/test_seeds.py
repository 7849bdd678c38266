"""Seeds: a run that was begun yesterday goes on tomorrow."""

from __future__ import annotations

import numpy as np

from asr.utils.seeds import SeedTag, generator, hash_seed


def test_the_numbers_are_those_of_every_run_so_far() -> None:
    assert {tag.name: tag.value for tag in SeedTag} == {
        "LABELLED": 1,
        "UNTRANSCRIBED": 2,
        "INTERLEAVING": 3,
        "DROPOUT": 4,
        "LAYER_DROP": 5,
        "CACHE_ORDER": 6,
        "CACHE_REPLACEMENT": 7,
        "CACHE_SPEED": 8,
        "SAMPLED_LABELS": 9,
        "ROUNDS": 10,
        "GRADIENT_SKETCH": 11,
        "GENERATION": 12,
        "SOUND": 20,
        "SET_WEIGHTS": 40,
        "SPANS": 50,
        "FADE": 51,
        "EXPORT_CHECK": 60,
    }
    expected = np.random.default_rng([7, 6, 2]).permutation(9)
    assert generator(7, SeedTag.CACHE_ORDER, 2).permutation(9).tolist() == expected.tolist()
    assert hash_seed(1, SeedTag.DROPOUT, 3, 0, 1) == 388883648526087207
