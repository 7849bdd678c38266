"""A file that lacks its end, by any container's heading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.sound.lengths import TRUNCATED, stated_in

KINDS = [
    *(
        ("WAV", "PCM_16"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_24"),
        ("AIFF", "PCM_16"),
    ),
    *(("AU", "PCM_16"), ("CAF", "FLOAT"), ("NIST", "PCM_16")),
]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "samples"), KINDS)
def test_a_lost_end_is_noticed(kind: str, samples: str, channels: int, tmp_path: Path) -> None:
    """Of RF64, W64 and SPHERE it was not: half an utterance then had the whole transcript."""
    path, cut = tmp_path / "whole", tmp_path / "cut"
    random = np.random.default_rng(1)
    audio = 0.1 * random.standard_normal((4001, channels))
    soundfile.write(path, audio, 16_000, format=kind, subtype=samples)
    content = path.read_bytes()
    assert stated_in(path) is None
    for length in random.integers(len(content) // 2, len(content) - 8, 5).tolist():
        cut.write_bytes(content[:length])
        fault = stated_in(cut)
        assert fault is not None, length
        assert fault.reason == TRUNCATED


@pytest.mark.parametrize(
    "content",
    [
        b"NIST_1A",
        b"NIST_1A\n   1024\nsample_count -i many\n",
        bytes.fromhex("726966662e91cf11a5d628db04c10000")
        + bytes(24)
        + b"fmt "
        + bytes(12)
        + b"\xff" * 8,
        b"RF64" + b"\xff" * 4 + b"WAVEds64" + bytes(28) + b"junk" + b"\xff" * 4,
    ],
)
def test_a_damaged_heading_states_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    assert stated_in(path) is None
