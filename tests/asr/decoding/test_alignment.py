"""A forced alignment spells its tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.alignment import align_tokens, align_words
from asr.errors import UserError
from asr.model.ctc import ctc_losses, shortest_feasible
from asr.model.encoder_decoder.ctc_head import OUTPUTS, spelt


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.lists(st.integers(1, 4), max_size=6))
def test_an_alignment_spells_its_tokens(seed: int, frames: int, tokens: list[int]) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (frames, 5))).float()
    if shortest_feasible(tokens) > frames:
        with pytest.raises(UserError, match="longer than the audio"):
            align_tokens(logits, tokens, 0.04)
        return
    found = align_tokens(logits, tokens, 0.04)
    assert [token.token for token in found] == tokens
    edges = [time for token in found for time in (token.begin, token.end)]
    assert edges == sorted(edges)
    assert all(0 < token.confidence <= 1 for token in found)
    if not tokens:
        return
    # The path is one of those whose probabilities CTC sums.
    path = -float(ctc_losses(logits[None], torch.tensor([frames]), [tokens])[0])
    log_posteriors, at = logits.log_softmax(-1), [0] * frames
    for token in found:
        for frame in range(round(token.begin / 0.04), round(token.end / 0.04)):
            at[frame] = token.token
    assert sum(float(log_posteriors[f, t]) for f, t in enumerate(at)) <= path + 1e-4


def test_words_are_where_their_letters_are() -> None:
    """A dash is not heard, and a word has the time from its first letter to its last."""
    path = [0, 0, *spelt("it"), 0, *spelt("a is b")[1:2], 0, 0, *spelt("ok"), 0]
    logits = torch.full((len(path), OUTPUTS), -9.0)
    logits[range(len(path)), path] = 9.0
    words = align_words(logits, "It, – OK!", 0.02)
    assert [word.text for word in words] == ["It,", "–", "OK!"]
    times = [(round(word.begin / 0.02), round(word.end / 0.02)) for word in words]
    assert times == [(2, 4), (4, 4), (8, 10)]
    assert all(0.9 < word.confidence <= 1 for word in words)
    assert [(w.begin, w.end) for w in align_words(logits, " – ", 0.02)] == [(0.0, 0.0)]
    assert align_words(logits, "", 0.02) == []
    with pytest.raises(UserError, match="longer than the audio"):
        align_words(logits, "far too long a text", 0.02)
