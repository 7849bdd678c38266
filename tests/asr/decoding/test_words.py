"""Tokens become words with their times."""

from __future__ import annotations

from types import SimpleNamespace

from asr.decoding.alignment import in_letters
from asr.decoding.words import TimedToken, Word, joined_text, words_of
from asr.model.tokenizer import CharacterTokenizer


def timed(text: str) -> list[TimedToken]:
    tokenizer = CharacterTokenizer("abc")
    return [TimedToken(t, 1 + i, 1.5 + i, 0.5) for i, t in enumerate(tokenizer.encode(text))]


def test_tokens_become_words_with_their_times() -> None:
    tokenizer = CharacterTokenizer("abc")
    words = words_of(timed("ab c"), tokenizer)
    assert words == [Word("ab", 1, 2.5, 0.5), Word("c", 4, 4.5, 0.5)]
    assert words_of([], tokenizer) == []
    space = tokenizer.encode("a a")[1]
    assert words_of([TimedToken(space, 0, 1, 1.0)], tokenizer) == []


def test_pieces_of_sentencepiece_begin_words() -> None:
    pieces = {1: " the", 2: "re", 3: " is", 4: " "}
    tokenizer = SimpleNamespace(piece=pieces.__getitem__)
    tokens = [TimedToken(t, t, t + 0.5, 1.0) for t in (1, 2, 3, 4)]
    assert [w.text for w in words_of(tokens, tokenizer)] == ["there", "is"]  # type: ignore[arg-type]


def test_a_text_without_spaces_parts_at_pauses_and_where_it_is_too_long_for_a_word() -> None:
    tokenizer = CharacterTokenizer("abc")
    ids = tokenizer.encode("abcabc")
    begins = (0.0, 0.2, 0.4, 2.0, 2.2, 2.4)
    tokens = [TimedToken(t, b, b + 0.04, 1.0) for t, b in zip(ids, begins, strict=True)]
    words = words_of(tokens, tokenizer)
    assert [(w.text, w.begin, w.joined) for w in words] == [("abc", 0.0, False), ("abc", 2.0, True)]
    assert joined_text(words) == "abcabc"
    assert "joined" not in words[0].to_record()
    ids = tokenizer.encode("abc" * 100 + " ab")
    talk = words_of([TimedToken(t, i / 5, i / 5 + 0.1, 1.0) for i, t in enumerate(ids)], tokenizer)
    assert [w.text for w in talk[-3:]] == ["b", "c", "ab"]
    assert joined_text(talk) == "abc" * 100 + " ab"
    assert all(word.end - word.begin <= 7 for word in talk)


def test_what_an_encoder_decoder_writes_without_spaces_falls_into_letters() -> None:
    word = Word("ab" * 50, 10.0, 20.0, 0.5)
    rough = in_letters(word)
    assert joined_text(rough) == word.text
    assert (rough[0].begin, rough[-1].end) == (10.0, 20.0)
    assert [one.joined for one in rough[:2]] == [False, True]
    bytes_of = [TimedToken(98 + i % 2, 10 + i / 10, 10.05 + i / 10, i / 100) for i in range(100)]
    placed = in_letters(word, bytes_of)
    assert [(one.begin, one.confidence) for one in placed] == [
        (token.begin, token.confidence) for token in bytes_of
    ]
    short = Word("ab", 0.0, 1.0, 1.0)
    assert in_letters(short) == [short]
