"""The worst utterances' sound in the page: only where it is near, only the utterance, and safe."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import read_lines
from report_helpers import decode, parsed, without_our_script, write_lines

from asr.cli import report
from asr.report.run_page import write_report

RATE_HZ = 16_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose first utterances name a recording of ten seconds, a different one each."""
    decode(tmp_path / "run", "teacher", 3)
    recording = tmp_path / "speech.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * RATE_HZ)
    soundfile.write(recording, noise, RATE_HZ)
    path = tmp_path / "run/decode/test/teacher.jsonl"
    records = read_lines(path)
    for record in records:
        words = record["hypothesis"].split()
        timed = [
            {"text": w, "begin": 0.2 * i, "end": 0.2 * i + 0.1, "confidence": 0.5}
            for i, w in enumerate(words)
        ]
        record |= {"audio": str(recording), "audio_begin": 1.5, "seconds": 2.0, "words": timed}
    write_lines(path, records)
    return tmp_path / "run"


def test_a_player_for_each_and_a_spectrogram_for_the_worst(run: Path) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    tags = parsed(page)
    players = [value for tag, name, value in tags.attributes if (tag, name) == ("audio", "src")]
    assert len(players) == 15
    kind, data = (players[0] or "").split(",")
    assert kind == "data:audio/mpeg;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert (rate, len(samples)) == (RATE_HZ, pytest.approx(2.0 * RATE_HZ, rel=0.1))
    assert page.count("Spectrogram of u") == 2 * 5  # as the region's name and the drawing's
    assert "Heard: X at 0.0 s" in page
    assert len(tags.values("id")) == len(set(tags.values("id")))
    for address in tags.values("xlink:href"):
        assert address.startswith(("#", "data:image/png;base64,"))


def test_without_the_file_or_by_wish_there_is_no_sound(run: Path) -> None:
    assert report.main([str(run), "--no-audio"]) == 0
    page = (run / "report/index.html").read_text(encoding="utf-8")
    assert "<audio" not in page
    assert "Spectrogram" not in page
    (run.parent / "speech.flac").write_bytes(b"no audio")
    page = write_report(run).read_text(encoding="utf-8")
    assert "<audio" not in page
    assert "Without sound here: 15, its file cannot be read from here." in page
    (run.parent / "speech.flac").unlink()
    assert "<audio" not in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_sound_that_no_encoder_takes(run: Path, value: float) -> None:
    samples = np.full(10 * RATE_HZ, value, dtype=np.float32)
    path = run.parent / "speech.wav"
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    hypotheses = run / "decode/test/teacher.jsonl"
    hypotheses.write_text(hypotheses.read_text().replace("speech.flac", "speech.wav"))
    page = write_report(run).read_text(encoding="utf-8")
    assert ("<audio" in page) == (value == 1e6)


@pytest.mark.parametrize("odd", ["<script>alert(1)</script>", "$\\frac{a", "$a$ & $"])
def test_words_are_shown_as_they_are(run: Path, odd: str) -> None:
    path = run / "decode/test/teacher.jsonl"
    records = read_lines(path)
    for record in records:
        record["words"][0]["text"] = odd
        record["hypothesis"] = " ".join([odd, *record["hypothesis"].split()[1:]])
    write_lines(path, records)
    page = write_report(run).read_text(encoding="utf-8")
    parsed(without_our_script(page))
    drawn = page[page.index('aria-label="Spectrogram of') :]
    assert html.escape(odd, quote=False) in drawn


def test_records_that_others_wrote_do_no_harm(run: Path) -> None:
    path = run / "decode/test/teacher.jsonl"
    records = read_lines(path)
    for record, words in zip(
        records,
        (None, "text", [1], [{"text": "A"}], [{"text": "A", "begin": "x", "end": None}]) * 8,
        strict=True,
    ):
        record["words"] = words
    records[0]["audio"] = 3
    records[1]["audio_begin"] = "x"
    records[2]["audio_begin"] = 1e18
    records[3]["audio"] = "x" * 5000
    records[4]["words"] = [{"text": "A", "begin": 10**400, "end": 1}]
    records[5]["words"] = [{"text": "A", "begin": 1e9, "end": 1e9}]
    write_lines(path, records)
    parsed(write_report(run).read_text(encoding="utf-8"))
