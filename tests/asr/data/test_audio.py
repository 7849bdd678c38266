"""Resampling in blocks is resampling; files that end early."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.functional import resample

from asr.data.audio import AudioFile, resampled, stream_audio


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]),
    st.integers(1, 60_000),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=4),
)
def test_resampling_in_blocks_is_resampling(rate: int, samples: int, cuts: list[int]) -> None:
    signal = torch.from_numpy(np.random.default_rng(samples).standard_normal(samples)).float()
    blocks, start, index = [], 0, 0
    while start < samples:
        size = cuts[index % len(cuts)] + 200
        blocks.append(signal[start : start + size])
        start, index = start + size, index + 1
    joined = torch.cat(list(resampled(blocks, rate, 16_000)))
    whole = resample(signal, rate, 16_000)
    assert joined.shape == whole.shape
    assert (joined - whole).abs().max() < 1e-4


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("MP3", None), ("OGG", "OPUS")])
def test_a_file_that_ends_early_says_so(tmp_path: Path, kind: str, subtype: str | None) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    noise = np.random.default_rng(0).standard_normal(16_000 * 8) / 9
    soundfile.write(path, noise, 16_000, format=kind, subtype=subtype)
    whole = AudioFile.named(path)
    assert sum(map(len, stream_audio(whole, 16_000))) >= 16_000 * 8
    assert not whole.faults
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 45 // 100])
    half = AudioFile.named(path)
    assert 0 < sum(map(len, stream_audio(half, 16_000))) < 16_000 * 6
    assert half.faults


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_an_ogg_file_that_lacks_its_last_pages_says_so(tmp_path: Path, subtype: str) -> None:
    """Also as it comes through a pipe."""
    path = tmp_path / "a.ogg"
    noise = np.random.default_rng(0).standard_normal(16_000 * 8) / 9
    soundfile.write(path, noise, 16_000, format="OGG", subtype=subtype)
    path.write_bytes(b"OggS".join(path.read_bytes().split(b"OggS")[:-2]))
    for cut in (AudioFile.named(path), AudioFile(Path("-"), path.open("rb"))):
        assert 0 < sum(map(len, stream_audio(cut, 16_000))) < 16_000 * 8
        assert "last page is not marked as the last one" in cut.faults[0]
