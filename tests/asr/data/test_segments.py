"""Passes of a corpus are pure and complete."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_helpers import draw, make_stream

from asr.data.segments import GroupedCorpus, Kind
from asr.errors import UserError


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 5), st.floats(2, 40))
def test_every_pass_holds_every_utterance_once(count: int, pass_index: int, group: float) -> None:
    seconds = np.random.default_rng(count).uniform(0.5, 18, count)
    corpus = GroupedCorpus(Kind.LABELLED, seconds, group, seed=3)
    groups = [corpus.group(pass_index, i) for i in range(corpus.groups_in_pass(pass_index))]
    assert Counter(s.index for g in groups for s in g) == Counter(range(count))
    assert all(groups)


def test_passes_and_seeds_differ() -> None:
    first, second = (make_stream(seed=1).corpora[Kind.LABELLED] for _ in range(2))
    assert first is not None
    assert second is not None
    assert [s.index for s in first.group(0, 0)] == [s.index for s in second.group(0, 0)]
    order = [[s.index for i in range(5) for s in first.group(p, i)] for p in (0, 1)]
    assert order[0] != order[1]
    other = make_stream(seed=2)
    assert draw(make_stream(seed=1), 3, 5) != draw(other, 3, 5)


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(UserError, match="no labelled utterances"):
        GroupedCorpus(Kind.LABELLED, [], 10.0, 1)
