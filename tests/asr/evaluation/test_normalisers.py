"""What normalisers do to a text, and under which name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from evaluation_helpers import SAMPLE
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UserError
from asr.evaluation.normalisers import librispeech, make_normaliser


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Don’t  stop, Mr. O'Neill!", "DON'T STOP MR O'NEILL"),
        ("well-known ' café", "WELL KNOWN CAFE"),
        ("'tis the boys' 2 dogs_", "'TIS THE BOYS' 2 DOGS"),
        ("ёж и йод", "ЁЖ И ЙОД"),
        ("за\N{COMBINING ACUTE ACCENT}мок", "ЗАМОК"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("ﬁne", "FINE"),
        ("می\N{ZERO WIDTH NON-JOINER}خواهم", "میخواهم"),
        ("ශ්\N{ZERO WIDTH JOINER}රී", "ශ්රී"),
        ("co\N{SOFT HYPHEN}operate\N{LEFT-TO-RIGHT MARK}", "COOPERATE"),
        ("ไทย\N{ZERO WIDTH SPACE}ดี", "ไทย ดี"),
        ("1½ cups, 2 ¾", "1 1 2 CUPS 2 3 4"),
        ("10² m²", "10 2 M2"),
        ("①②", "1 2"),
        ("", ""),
        ("?!", ""),
    ],
)
def test_librispeech(text: str, wanted: str) -> None:
    assert librispeech(text) == wanted


@given(st.text(max_size=40))
def test_librispeech_twice_is_librispeech_once(text: str) -> None:
    assert librispeech(librispeech(text)) == librispeech(text)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the LibriSpeech sample is not here")
def test_librispeech_leaves_its_own_transcripts() -> None:
    lines = [
        line.partition(" ")[2]
        for path in SAMPLE.rglob("*.trans.txt")
        for line in path.read_text().splitlines()
    ]
    assert len(lines) > 200
    assert [librispeech(line) for line in lines] == lines


def test_names_have_versions() -> None:
    assert make_normaliser("none").stamp == "none/1"
    assert make_normaliser("none").apply(" a  B\t") == "a B"
    assert make_normaliser("librispeech").stamp == "librispeech/2"


def test_a_module_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def lower(text):\n    return text.lower()\n")
    found = make_normaliser(f"{path}:lower")
    assert found.apply("ABC") == "abc"
    assert found.stamp.startswith("mine.py:lower/")
    path.write_text("def lower(text):\n    return text.casefold()\n")
    assert make_normaliser(f"{path}:lower").stamp != found.stamp


@pytest.mark.parametrize(
    ("content", "function", "message"),
    [
        ("x = 1", "x", "has no function .x."),
        ("x = 1", "y", "has no function .y."),
        ("1 / 0", "x", "ZeroDivisionError"),
        ("def f(text): return 3", "f", "return a text"),
    ],
)
def test_a_module_that_is_no_use(tmp_path: Path, content: str, function: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        make_normaliser(f"{path}:{function}")


def test_what_there_is_not() -> None:
    with pytest.raises(UserError, match="one of none, lower, librispeech, whisper-english"):
        make_normaliser("kaldi")
    with pytest.raises(UserError, match="name a Python file"):
        make_normaliser("/no/such.py:f")


def test_a_module_that_fails_on_some_text_says_on_which(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def first(text):\n    return text.split()[0]\n")
    found = make_normaliser(f"{path}:first")
    with pytest.raises(UserError, match="on the text ''; fix the function"):
        found.apply("")


def test_whisper_english() -> None:
    pytest.importorskip("whisper_normalizer")
    found = make_normaliser("whisper-english")
    assert re.fullmatch(
        r"whisper-english/[\d.]+, ellipses dropped, joiners dropped, fractions apart", found.stamp
    )
    assert found.apply("Mr. Colour isn't 20%") == "mister color is not 20%"
    assert found.apply("so\N{SOFT HYPHEN}fa for 1½ hours") == found.apply("sofa for 1 1/2 hours")


@pytest.mark.parametrize("end", [".", "..", "...", "…", "….", "?..", "‥", " . . .", " ...", ""])
def test_whisper_english_makes_no_word_of_an_ellipsis(end: str) -> None:
    pytest.importorskip("whisper_normalizer")
    apply = make_normaliser("whisper-english").apply
    assert apply(f"I was upset{end}").split() == ["i", "was", "upset"]
    assert apply(f"I{end} was upset").split() == ["i", "was", "upset"]
    assert apply(f"wait{end} 3.5 dollars").split() == ["wait", "$3.5"]
