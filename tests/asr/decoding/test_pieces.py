"""Long audio for an encoder-decoder: nothing is lost between pieces, and cuts are where it is quiet."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.pieces import quiet_pieces

RATE_HZ = 1000


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=6), st.integers(0, 99))
def test_pieces_are_the_recording_whatever_its_blocks(lengths: list[int], seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    blocks = [torch.randn(length, generator=draws) for length in lengths]
    pieces = list(quiet_pieces(blocks, RATE_HZ, longest_seconds=2.0))
    whole = torch.cat([torch.zeros(0), *blocks])
    assert torch.cat([torch.zeros(0), *pieces]).equal(whole)
    assert all(0 < len(piece) <= 2000 for piece in pieces)
    assert all(len(piece) >= 1000 for piece in pieces[:-1])
    again = list(quiet_pieces([whole], RATE_HZ, longest_seconds=2.0))
    assert [len(piece) for piece in again] == [len(piece) for piece in pieces]


def test_a_cut_is_in_the_pause() -> None:
    audio = torch.ones(3000)
    audio[1400:1800] = 0.0
    first, second = quiet_pieces([audio], RATE_HZ, longest_seconds=2.0)
    assert 1400 < len(first) < 1800
    assert len(second) == 3000 - len(first)
