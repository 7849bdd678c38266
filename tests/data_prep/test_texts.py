"""Transcripts that are changed at preparation, and what is said of their characters."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from data_prep_helpers import cuts_of, make_librispeech, rejects_of, write_audio

from asr.data_prep import cli
from asr.data_prep.text.number_words import make_number_words
from asr.errors import UserError


def folder(root: Path, texts: dict[str, str]) -> list[str]:
    for name in texts:
        write_audio(root / "in" / f"{name}.wav")
    table = "".join(f"{name}\t{text}\n" for name, text in texts.items())
    (root / "in" / "transcripts.tsv").write_text(table, encoding="utf-8")
    return ["folder", "--root", str(root / "in"), "--output", str(root / "out"), "--jobs", "1"]


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "1,234 men, 21st of 1844; 3.5", "one thousand two hundred and thirty four men, "),
        ("de", "1.234 und 2,5", "eintausendzweihundertvierunddreißig und zwei Komma fünf"),
        ("ru", "21 и 1 000", "двадцать один и одна тысяча"),
        ("en", "007 at 10:30 in B2, 1/2, 1.234.567", "007 at 10:30 in B2, 1/2, 1.234.567"),
        ("en", "no number", "no number"),
    ],
)
def test_numbers_become_words(language: str, text: str, words: str) -> None:
    stamp, write = make_number_words(language)
    assert stamp.startswith(f"num2words-{language}/")
    assert write(text).startswith(words)
    assert write(write(text)) == write(text)


def test_ordinals_and_years_are_english() -> None:
    _, write = make_number_words("en")
    assert (
        write("the 21st of 1844, 2001")
        == "the twenty first of eighteen forty four, two thousand and one"
    )


def test_a_language_or_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--number-words xx: num2words has no such .*\bde\b"):
        make_number_words("xx")
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(UserError, match=r"pip install 'asr-ema\[numbers\]'"):
        make_number_words("de")


def test_what_was_given_stays_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = folder(tmp_path, {"a": "It's 5 o'clock.", "b": "Здравствуйте!", "c": "..."})
    assert cli.main([*arguments, "--normaliser", "librispeech", "--number-words", "en"]) == 0
    texts = {cut.id: cut.supervisions[0] for cut in cuts_of(tmp_path / "out", "labelled")}
    assert texts["a"].text == "IT'S FIVE O'CLOCK"
    assert texts["a"].custom == {"text_written": "It's 5 o'clock."}
    assert texts["b"].text == "ЗДРАВСТВУЙТЕ"
    assert [(line["id"], line["reason"]) for line in rejects_of(tmp_path / "out")] == [
        ("c", "empty_text")
    ]
    assert "tokenizer.characters: \"'CEFIKLOSTVА" in capsys.readouterr().out
    assert (
        cli.main(
            [*arguments, "--normaliser", "lower", "--characters", "abcdefghijklmno'.5pqrstuvwxyz"]
        )
        == 0
    )
    kept = {cut.id: cut.supervisions[0].text for cut in cuts_of(tmp_path / "out", "labelled")}
    assert kept == {"a": "it's 5 o'clock.", "c": "..."}


def test_a_corpus_of_known_letters_may_be_normalised(tmp_path: Path) -> None:
    make_librispeech(tmp_path / "LibriSpeech", {"dev-clean": ["1-2-0003"]})
    arguments = ["librispeech", "--root", str(tmp_path), "--output", str(tmp_path / "out")]
    assert cli.main([*arguments, "--normaliser", "lower"]) == 0
    (cut,) = cuts_of(tmp_path / "out", "dev-clean")
    assert cut.supervisions[0].text.islower()
    assert cut.supervisions[0].custom["text_written"].isupper()


def test_the_last_line_says_what_a_tokenizer_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = folder(tmp_path, {"a": "Aa é 7 aaaa", "b": "a" * 10})
    assert cli.main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert 'tokenizer.characters: "7Aaé"' in last
    assert "seldom: " in last
    assert "'é' 1" in last
    assert "--number-words" in last
    assert "--normaliser lower" in last


def test_an_unknown_normaliser_is_named_before_any_work(tmp_path: Path) -> None:
    arguments = folder(tmp_path, {"a": "one"})
    with pytest.raises(UserError, match="normaliser 'upper' is unknown"):
        cli.main([*arguments, "--normaliser", "upper"])
    assert not (tmp_path / "out" / "rejects.jsonl").exists()
