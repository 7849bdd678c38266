"""A Whisper of ours, through transformers' layout and CTranslate2's converter: faster-whisper reads the same.

With real weights and speech, which are not in the repository: ASR_TEST_WHISPER is the folder that `asr prepare
whisper-tiny.en` writes, ASR_TEST_SPEECH one with utterances as .flac.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asr
from asr.__main__ import main

WHISPER, SPEECH = (
    Path(os.environ.get(f"ASR_TEST_{name}", "/none")) for name in ("WHISPER", "SPEECH")
)
_UTTERANCES = 10
OPTIONS = {
    "beam_size": 1,
    "without_timestamps": True,
    "condition_on_previous_text": False,
    "suppress_tokens": [],
}
"""As the card has them: by itself faster-whisper keeps hyphens and quotes out of texts."""


@pytest.mark.slow
@pytest.mark.skipif(not WHISPER.is_dir() or not SPEECH.is_dir(), reason="no weights, or no speech")
def test_faster_whisper_reads_the_same(tmp_path: Path) -> None:
    converters = pytest.importorskip("ctranslate2.converters")
    faster_whisper = pytest.importorskip("faster_whisper")
    from whisper_helpers import write_checkpoint

    # faster-whisper's window: in shorter ones Whisper reads a little otherwise.
    settings = {"window_seconds": 10.0, "generation_window_seconds": 30.0}
    checkpoint = write_checkpoint(tmp_path / "checkpoint", WHISPER, **settings)
    exported, converted = tmp_path / "exported", tmp_path / "converted"
    assert main(["export", str(checkpoint), "--to", "hf", "--output", str(exported)]) == 0
    files = ["tokenizer.json", "preprocessor_config.json"]
    converters.TransformersConverter(str(exported), copy_files=files).convert(str(converted))
    card = (exported / "README.md").read_text("utf-8")
    assert all(f"{name}={value}" in card for name, value in OPTIONS.items())
    theirs = faster_whisper.WhisperModel(str(converted), device="cpu", compute_type="float32")
    ours = asr.load_model(checkpoint, device="cpu")
    assert "may differ" not in card
    for file in sorted(SPEECH.rglob("*.flac"))[:_UTTERANCES]:
        wave, rate_hz = soundfile.read(file, dtype="float32")
        silence = np.zeros(max(0, 30 * rate_hz - len(wave)), np.float32)
        segments, _ = theirs.transcribe(np.concatenate([wave, silence]), **OPTIONS)
        text = " ".join(segment.text.strip() for segment in segments)
        assert text == asr.transcribe(ours, (wave, rate_hz)).text
        assert text
