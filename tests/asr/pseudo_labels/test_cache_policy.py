"""The cache follows how much labels change."""

from __future__ import annotations

import pytest

from asr.config.pseudo_label import CacheConfig
from asr.errors import UserError
from asr.pseudo_labels.cache_policy import CachePolicy
from asr.pseudo_labels.label_counts import LabelCounts


def changed(share: float) -> LabelCounts:
    return LabelCounts(changed=10 * share, compared=10)


def test_the_probability_follows_the_change_of_labels() -> None:
    replacement = CachePolicy(CacheConfig(replacement_probability=0.1, change_for_replacement=0.4))
    assert replacement.probability(0) == replacement.probability(1) == 1.0
    with pytest.raises(UserError, match="enlarge it"):
        replacement.probability(2)
    for cache_pass, share, expected in ((1, 0.9, 1.0), (2, 0.2, 0.5), (3, 0.01, 0.1)):
        replacement.passed(cache_pass, changed(share))
        replacement.passed(cache_pass, changed(0.5))  # later in the same pass: decided already
        assert replacement.probability(cache_pass + 1) == pytest.approx(expected)
    resumed = CachePolicy(replacement.policy)
    resumed.load(replacement.state())
    assert resumed.probability(4) == 0.1
    constant = CachePolicy(CacheConfig(replacement_probability=0.3))
    assert constant.probability(17) == 0.3
