"""How much of the speech `asr prepare segment` finds, and how much else it takes for speech."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from data_prep_helpers import cuts_of
from joined_recordings import RATE_HZ, coverage, joined, write_mp3

from asr.data_prep import cli

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "librispeech-sample" / "LibriSpeech"


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason="needs the LibriSpeech sample")
@pytest.mark.skipif(find_spec("silero_vad") is None, reason="silero-vad is not installed")
def test_speech_is_found_among_pauses_music_and_noise(tmp_path: Path) -> None:
    random = np.random.default_rng(17)
    utterances = sorted(SAMPLE.glob("*/*/*/*.flac"))
    order = random.permutation(len(utterances)).tolist()
    audio_N, spans = joined([utterances[place] for place in order], 600, random)
    (tmp_path / "in").mkdir()
    write_mp3(tmp_path / "in" / "talk.mp3", audio_N)
    command = ["segment", "--root", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert cli.main([*command, "--jobs", "1"]) == 0
    cuts = [(cut.start, cut.end) for cut in cuts_of(tmp_path / "out", "untranscribed")]
    found, other = coverage(spans, cuts, len(audio_N) / RATE_HZ)
    assert found >= 0.95
    assert other <= 0.10
