"""Captions in the formats that people want."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.captions import formats as captions
from asr.decoding.captions.cues import cues_of, lines_of
from asr.decoding.words import Transcription, Word
from asr.evaluation.ctm import read_ctm

TALK = Transcription(
    "dir/my talk.wav",
    3700.0,
    [Word("a&b", 0.5, 0.9, 0.8), Word("<c>", 1.0, 1.25, 0.6), Word("d", 3661.0, 3661.5, 1.0)],
)


def test_captions_break_at_pauses_and_escape() -> None:
    assert captions.as_srt(TALK) == (
        "1\n00:00:00,500 --> 00:00:01,500\na&b <c>\n\n2\n01:01:01,000 --> 01:01:02,000\nd\n"
    )
    assert captions.as_vtt(TALK) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\na&amp;b &lt;c>\n\n"
        "01:01:01.000 --> 01:01:02.000\nd\n"
    )
    long = Transcription("x", 100.0, [Word("word", i, i + 0.9, 1.0) for i in range(40)])
    cues = cues_of(long)
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
    assert [cue.text for cue in cues_of(talk)] == [sentence, sentence]
    for step in (0.05, 1.0):  # 84 letters come first, or 7 s
        talk = Transcription("x", 900.0, letters("abcdefgh" * 100, step))
        cues = cues_of(talk)
        assert "".join(cue.text for cue in cues) == talk.text
        assert all(cue.end - cue.begin <= 7 and len(cue.text) <= 84 for cue in cues)
        assert len(cues) >= 10


def test_a_short_word_is_shown_long_enough_to_be_seen() -> None:
    words = [Word("a", 1.0, 1.03, 1.0), Word("b", 4.0, 4.03, 1.0), Word("c", 9.0, 9.03, 1.0)]
    shown = [(cue.begin, cue.end) for cue in cues_of(Transcription("x", 9.1, words))]
    assert shown == [(1.0, 2.0), (4.0, 5.0), (pytest.approx(8.1), 9.1)]
    # One that follows at once is not overlapped.
    close = [Word("w" * 60, 0.0, 1.0, 1.0), Word("x" * 60, 1.1, 1.13, 1.0)]
    close += [Word("y" * 60, 1.3, 3.0, 1.0)]
    cues = cues_of(Transcription("x", 3.0, close))
    assert len(cues) == 3
    assert all(one.end <= other.begin for one, other in itertools.pairwise(cues))
    assert (cues[1].begin, cues[1].end) == (1.0, 1.3)


def test_ctm_is_what_score_reads(tmp_path: Path) -> None:
    path = tmp_path / "talk.ctm"
    path.write_text(captions.as_ctm(TALK))
    [(name, words)] = read_ctm(path).items()
    assert name == "my_talk-1"
    assert [w.text for w in words] == ["a&b", "<c>", "d"]


def spoken(text: str, seconds: float = 0.3) -> Transcription:
    """A text, a word after the other."""
    words = [Word(w, seconds * n, seconds * (n + 0.9), 1.0) for n, w in enumerate(text.split())]
    return Transcription("x", seconds * len(words) + 9, words)


def test_a_full_caption_ends_with_a_sentence_or_a_clause() -> None:
    text = "I have never seen the river as high as this, he said to us. "
    text += "Then we went home by the old road, since the bridge was gone. "
    found = [cue.text for cue in cues_of(spoken(text * 3, 0.25))]
    assert " ".join(found) == " ".join((text * 3).split())
    assert all(one.endswith((".", ",")) for one in found)
    # Without punctuation it ends where the speaker breathes.
    words = [*spoken("one two three four five six seven eight nine", 0.3).words]
    later = [Word(w.text, w.begin + 3.1, w.end + 3.1, 1.0) for w in spoken("ten " * 20, 0.3).words]
    first, *_ = cues_of(Transcription("x", 99.0, [*words, *later]))
    assert first.text == "one two three four five six seven eight nine"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("short", ["short"]),
        (
            "a line of more than forty-two columns, in two",
            ["a line of more than", "forty-two columns, in two"],
        ),
        ("これは四十二桁よりも長い行なので、二つに分けなければなりません。", None),
        ("x" * 50, ["x" * 42, "x" * 8]),
    ],
)
def test_lines_are_of_42_columns(text: str, expected: list[str] | None) -> None:
    lines = lines_of(text)
    if text.startswith("x"):
        assert lines == ["x" * 25, "x" * 25]
    elif expected is not None:
        assert lines == expected
    else:
        assert len(lines) == 2
        assert max(map(len, lines)) <= 21
        assert "".join(lines) == text
        assert not lines[1].startswith("、")


@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from("abc字กี"), min_size=1, max_size=30),
            st.floats(0.01, 3.0),
            st.floats(0.0, 2.0),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_captions_can_be_read_whatever_is_said(parts: list[tuple[str, float, float, bool]]) -> None:
    words, at = [], 0.0
    for number, (text, seconds, pause, joined) in enumerate(parts):
        words.append(Word(text, at, at + seconds, 1.0, joined and number > 0))
        at += seconds + pause
    talk = Transcription("x", at, words)
    cues = cues_of(talk)
    assert "".join("".join(cue.text for cue in cues).split()) == "".join(talk.text.split())
    assert all(one.end <= other.begin for one, other in itertools.pairwise(cues))
    for cue in cues:
        assert cue.end - cue.begin <= 7 or " " not in cue.text
        lines = lines_of(cue.text)
        assert len(lines) <= 2
        assert "".join("".join(lines).split()) == "".join(cue.text.split())
        if " " in cue.text and "字" not in cue.text:
            assert " ".join(lines) == cue.text  # no word is parted
