"""The characters of transcripts: what a tokenizer lacks, how often, and what helps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from asr.errors import UserError
from asr.evaluation.normalisers import make_normaliser
from asr.model.tokenizer import CharacterTokenizer, SentencePieceTokenizer, Tokenizer

_SHOWN = 10
_MOST_SUGGESTED = 200
_HELPFUL = ("lower", "librispeech")
"""Normalisers that need no package."""


class NormalisedTokenizer:
    """A tokenizer before which something is done to every transcript."""

    def __init__(self, tokenizer: Tokenizer, normalise: Callable[[str], str]) -> None:
        self.inner, self._normalise = tokenizer, normalise

    @property
    def vocabulary_size(self) -> int:
        return self.inner.vocabulary_size

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(self._normalise(text))

    def decode(self, tokens: Iterable[int]) -> str:
        return self.inner.decode(tokens)

    def piece(self, token: int) -> str:
        return self.inner.piece(token)

    def save(self, folder: Path) -> None:
        self.inner.save(folder)


def is_spelt(tokenizer: Tokenizer, character: str) -> bool:
    """Whether a tokenizer has tokens for a character."""
    try:
        tokenizer.encode(character)
    except UserError:
        return False
    return True


def count_lacking(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """Characters of texts that the tokenizer has no token for, with their counts."""
    counts = Counter(character for text in texts for character in text)
    return Counter({c: n for c, n in counts.items() if not is_spelt(tokenizer, c)})


def shown_counts(counts: Counter[str]) -> str:
    """The most frequent first, as in `'é' 10, '1' 3, and 5 others`."""
    shown = ", ".join(f"{c!r} {n:,}" for c, n in counts.most_common(_SHOWN))
    return shown + (f", and {len(counts) - _SHOWN} others" if len(counts) > _SHOWN else "")


def suggested_characters(characters: Iterable[str]) -> str:
    """The setting that spells these characters, as a recipe has it; or what to take for very many."""
    alphabet = "".join(sorted(set("".join(characters)) - set(" \t\r\n")))
    if len(alphabet) > _MOST_SUGGESTED:
        return f"a sentencepiece model (asr prepare tokenizer), for there are {len(alphabet)}"
    return f"tokenizer.characters: {json.dumps(alphabet, ensure_ascii=False)}"


def remedy_for(tokenizer: Tokenizer, characters: str, lacking: Mapping[str, int]) -> str:
    """What makes transcripts of these `characters` spellable, of which some are `lacking`."""
    ways = []
    digits = {character for character in lacking if character.isdecimal()}
    if digits:
        ways.append("write numbers as words (asr prepare ... --number-words LANGUAGE)")
    if len(lacking) > len(digits):
        others = [character for character in characters if not character.isdecimal()]
        name = next((name for name in _HELPFUL if _would_spell(tokenizer, name, others)), None)
        if name is not None:
            ways.append(
                f"set tokenizer.normaliser: {name} (or asr prepare ... --normaliser {name})"
            )
        elif digits:
            ways.clear()  # not enough
    inner = tokenizer.inner if isinstance(tokenizer, NormalisedTokenizer) else tokenizer
    if isinstance(inner, CharacterTokenizer):
        # Letters of another case, of which hardly any occurs, are not meant.
        used = "".join(c for c in inner.characters if c in characters)
        own = inner.characters if 2 * len(used) > len(inner.characters) else used
        ways.append(_set_or_take(suggested_characters([own, *lacking])))
    elif isinstance(inner, SentencePieceTokenizer):
        ways.append("train the sentencepiece model on these transcripts (asr prepare tokenizer)")
    else:
        ways.append("clean the transcripts and prepare the set again")
    *first, last = ways
    return f"{' and '.join(first)}, or {last}" if first else last


def _set_or_take(way: str) -> str:
    return f"set {way}" if way.startswith("tokenizer.") else f"take {way}"


def _would_spell(tokenizer: Tokenizer, name: str, characters: Iterable[str]) -> bool:
    """Whether all of them are spelt once that normaliser has had them."""
    apply = make_normaliser(name).apply
    return all(is_spelt(tokenizer, c) for one in characters for c in apply(one))
