"""Tokenizers: text goes through tokens and comes back, in memory and from a model's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UserError
from asr.model.tokenizer import BLANK, CharacterTokenizer, load_tokenizer

ALPHABET = "abcё'"
TOKENIZER = CharacterTokenizer(ALPHABET)


@given(st.text(ALPHABET + " "))
def test_characters_come_back_but_for_repeated_spaces(text: str) -> None:
    tokens = TOKENIZER.encode(text)
    assert BLANK not in tokens
    assert max(tokens, default=0) < TOKENIZER.vocabulary_size
    assert TOKENIZER.decode(tokens) == " ".join(text.split())
    assert "".join(map(TOKENIZER.piece, tokens)) == " ".join(text.split())


def test_a_folder_brings_the_same(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path)
    assert load_tokenizer(tmp_path).encode("ab ё") == TOKENIZER.encode("ab ё")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"no readable tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_what_cannot_be_spelt_is_named() -> None:
    with pytest.raises(UserError, match="character 'X' is not among tokenizer"):
        TOKENIZER.encode("aX")
    for alphabet in ("", " ", "aba"):
        with pytest.raises(UserError, match="give each character once"):
            CharacterTokenizer(alphabet)
