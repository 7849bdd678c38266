"""Captions in the formats that people want."""

from __future__ import annotations

from pathlib import Path

from asr.decoding import captions
from asr.decoding.words import Transcription, Word
from asr.evaluation.ctm import read_ctm

TALK = Transcription(
    "dir/my talk.wav",
    3700.0,
    [Word("a&b", 0.5, 0.9, 0.8), Word("<c>", 1.0, 1.25, 0.6), Word("d", 3661.0, 3661.5, 1.0)],
)


def test_captions_break_at_pauses_and_escape() -> None:
    assert captions.as_srt(TALK) == (
        "1\n00:00:00,500 --> 00:00:01,250\na&b <c>\n\n2\n01:01:01,000 --> 01:01:01,500\nd\n"
    )
    assert captions.as_vtt(TALK) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\na&amp;b &lt;c>\n\n"
        "01:01:01.000 --> 01:01:01.500\nd\n"
    )
    long = Transcription("x", 100.0, [Word("word", i, i + 0.9, 1.0) for i in range(40)])
    cues = captions.cues_of(long)
    assert all(end - begin <= 7 and len(text) <= 84 for begin, end, text in cues)
    assert " ".join(text for _, _, text in cues) == long.text


def test_ctm_is_what_score_reads(tmp_path: Path) -> None:
    path = tmp_path / "talk.ctm"
    path.write_text(captions.as_ctm(TALK))
    [(name, words)] = read_ctm(path).items()
    assert name == "my_talk-1"
    assert [w.text for w in words] == ["a&b", "<c>", "d"]
