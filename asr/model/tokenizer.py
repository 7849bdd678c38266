"""Text <-> token ids. Index 0 is the CTC blank in every tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from asr.config.schema import TokenizerConfig
from asr.errors import UserError
from asr.utils.files import copy_file, read_json

BLANK = 0
_CHARACTERS_FILE = "tokenizer.json"
_SENTENCEPIECE_FILE = "tokenizer.model"
PRETRAINED_FILE = "pretrained_tokenizer.json"
MAKE_ONE = (
    "make one with `asr prepare tokenizer --cuts SET.jsonl.gz --output FOLDER`, and set "
    "tokenizer.sentencepiece_model=FOLDER/tokenizer.model"
)


class Tokenizer(Protocol):
    """What the rest of the library needs of a tokenizer."""

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens V, the blank included."""

    def encode(self, text: str) -> list[int]:
        """Token ids, all above 0. Raises UserError on text that has no tokens for a character."""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of blank-free token ids."""

    def piece(self, token: int) -> str:
        """What a token adds to a text; a space where a word ends."""

    def save(self, folder: Path) -> None:
        """Write what `load_tokenizer` needs into `folder`."""


class CharacterTokenizer:
    """Characters, and the space as word boundary."""

    def __init__(self, characters: str) -> None:
        alphabet = characters.replace(" ", "")
        if not alphabet or len(set(alphabet)) != len(alphabet):
            raise UserError(
                f"tokenizer.characters '{characters}' is no alphabet",
                "give each character once, without the space",
            )
        self.characters = alphabet
        self._tokens: list[str] = [" ", *alphabet]
        self._ids = {token: index for index, token in enumerate(self._tokens, start=1)}

    @property
    def vocabulary_size(self) -> int:
        return 1 + len(self._tokens)

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[character] for character in " ".join(text.split())]
        except KeyError as error:
            raise UserError(
                f"text '{text}': character {error.args[0]!r} is not among tokenizer.characters",
                "add it there or clean the transcripts",
            ) from None

    def decode(self, tokens: Iterable[int]) -> str:
        return " ".join("".join(self._tokens[token - 1] for token in tokens).split())

    def piece(self, token: int) -> str:
        return self._tokens[token - 1]

    def save(self, folder: Path) -> None:
        content = {"kind": "characters", "characters": self.characters}
        (folder / _CHARACTERS_FILE).write_text(
            json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8"
        )


class SentencePieceTokenizer:
    """A sentencepiece model; its ids are shifted by one to make room for the blank."""

    def __init__(self, model: Path) -> None:
        import sentencepiece

        if not model.is_file():
            raise UserError(f"{model}: no such sentencepiece model", MAKE_ONE)
        self.model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        except RuntimeError as error:
            raise UserError(f"{model}: is not a sentencepiece model ({error})", MAKE_ONE) from None

    @property
    def vocabulary_size(self) -> int:
        return 1 + int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        unknown = self._processor.unk_id()
        ids: Sequence[int] = self._processor.encode(text)
        if unknown in ids:  # a tab, or white space that no transcript had
            ids = self._processor.encode(" ".join(text.split()))
        if unknown in ids:
            raise UserError(
                f"text '{text}': has characters unknown to {self.model}", "clean the transcripts"
            )
        return [index + 1 for index in ids]

    def decode(self, tokens: Iterable[int]) -> str:
        return " ".join(self._processor.decode([token - 1 for token in tokens]).split())

    def piece(self, token: int) -> str:
        return str(self._processor.id_to_piece(token - 1)).replace("▁", " ")

    def save(self, folder: Path) -> None:
        target = folder / _SENTENCEPIECE_FILE
        if target.resolve() != self.model.resolve():
            copy_file(self.model, target)


class NoTokenizer:
    """Of a network that says no text: it spells nothing, and leaves no file."""

    vocabulary_size = 0

    def encode(self, text: str) -> list[int]:
        raise UserError(f"text '{text:.40}': this objective has no texts", "leave it out")

    def decode(self, tokens: Iterable[int]) -> str:
        return ""

    def piece(self, token: int) -> str:
        return ""

    def save(self, folder: Path) -> None:
        """Nothing: who trains by texts from these weights makes a tokenizer of its own."""


def make_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """The tokenizer that a recipe asks for."""
    if config.kind == "characters":
        return CharacterTokenizer(config.characters)
    if config.sentencepiece_model is None:
        raise UserError(
            "tokenizer.sentencepiece_model is missing",
            f"{MAKE_ONE}, or set tokenizer.kind to characters",
        )
    return SentencePieceTokenizer(Path(config.sentencepiece_model))


def tokenizer_sha256(folder: Path) -> str | None:
    """Of the tokenizer's file in a model's folder; None where there is none."""
    for name in (_SENTENCEPIECE_FILE, PRETRAINED_FILE, _CHARACTERS_FILE):
        if (folder / name).is_file():
            return hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return None


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer saved in a model's folder."""
    if (folder / _SENTENCEPIECE_FILE).is_file():
        return SentencePieceTokenizer(folder / _SENTENCEPIECE_FILE)
    if (folder / PRETRAINED_FILE).is_file():
        from asr.model.encoder_decoder.tokenizer import PretrainedTokenizer

        return PretrainedTokenizer(folder / PRETRAINED_FILE)
    try:
        content = read_json(folder / _CHARACTERS_FILE)
        return CharacterTokenizer(content["characters"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: no readable {_CHARACTERS_FILE} or {_SENTENCEPIECE_FILE} ({error})",
            "name a checkpoint folder that `asr train` wrote",
        ) from None
