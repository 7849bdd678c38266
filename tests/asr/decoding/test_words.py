"""Tokens become words with their times."""

from __future__ import annotations

from types import SimpleNamespace

from asr.decoding.words import TimedToken, Word, words_of
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
