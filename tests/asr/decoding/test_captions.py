"""Captions in the formats that people want."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

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


def letters(text: str, step: float) -> list[Word]:
    """A text without spaces, each letter alone; '_' is a pause of its length."""
    found = []
    for place, letter in enumerate(text):
        if letter != "_":
            begin = place * step
            found.append(Word(letter, begin, begin + step / 2, 1.0, joined=bool(found)))
    return found


def test_captions_of_a_language_without_spaces_follow_pauses_seconds_and_letters() -> None:
    sentence = "abcdefgh" * 2
    talk = Transcription("x", 60.0, letters(f"{sentence}{'_' * 20}{sentence}", 0.1))
    assert talk.text == sentence * 2
    assert [cue.text for cue in captions.cues_of(talk)] == [sentence, sentence]
    for step in (0.05, 1.0):  # 84 letters come first, or 7 s
        talk = Transcription("x", 900.0, letters("abcdefgh" * 100, step))
        cues = captions.cues_of(talk)
        assert "".join(cue.text for cue in cues) == talk.text
        assert all(cue.end - cue.begin <= 7 and len(cue.text) <= 84 for cue in cues)
        assert len(cues) >= 10


def test_a_short_word_is_shown_long_enough_to_be_seen() -> None:
    words = [Word("a", 1.0, 1.03, 1.0), Word("b", 4.0, 4.03, 1.0), Word("c", 9.0, 9.03, 1.0)]
    shown = [(cue.begin, cue.end) for cue in captions.cues_of(Transcription("x", 9.1, words))]
    assert shown == [(1.0, 1.5), (4.0, 4.5), (pytest.approx(8.6), 9.1)]
    # One that follows at once is not overlapped.
    close = [Word("w" * 60, 0.0, 1.0, 1.0), Word("x" * 60, 1.1, 1.13, 1.0)]
    close += [Word("y" * 60, 1.3, 3.0, 1.0)]
    cues = captions.cues_of(Transcription("x", 3.0, close))
    assert len(cues) == 3
    assert all(one.end <= other.begin for one, other in itertools.pairwise(cues))
    assert (cues[1].begin, cues[1].end) == (1.0, 1.3)


def test_ctm_is_what_score_reads(tmp_path: Path) -> None:
    path = tmp_path / "talk.ctm"
    path.write_text(captions.as_ctm(TALK))
    [(name, words)] = read_ctm(path).items()
    assert name == "my_talk-1"
    assert [w.text for w in words] == ["a&b", "<c>", "d"]
