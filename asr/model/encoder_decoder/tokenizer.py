"""The tokenizer of a pretrained encoder-decoder, and which of its tokens are no text.

`tokenizer.json` of the `tokenizers` library is all that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.model.encoder_decoder.network import SpecialTokens
from asr.model.tokenizer import PRETRAINED_FILE
from asr.utils.files import copy_file

_MULTILINGUAL_TOKENS = 51_865
"""Whisper's with one language have one token less."""
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")


class PretrainedTokenizer:
    """Ids are the model's own. A text begins with a space where those that the model has learnt do."""

    def __init__(self, path: Path) -> None:
        """Raises UserError where the library is missing, or the file is no tokenizer's."""
        try:
            import tokenizers
        except ImportError:
            raise UserError(
                f"{path}: a pretrained model's tokenizer needs a package that is not installed",
                "pip install 'asr-ema[pretrained]'",
            ) from None
        self.path = path
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise UserError(
                f"{path}: is no tokenizer ({' '.join(str(error).split())[:100]})",
                "copy the model's folder again",
            ) from None
        # Whisper's: a space is a part of the word behind it, and the first word of a text has one, too.
        self._begin = " " if "ByteLevel" in str(self._tokenizer.pre_tokenizer) else ""

    @property
    def vocabulary_size(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that are no text."""
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(token for token, one in added.items() if _is_special(one))

    def encode(self, text: str) -> list[int]:
        """Raises UserError on a text that holds a special token's name."""
        words = " ".join(text.split())
        ids: list[int] = self._tokenizer.encode(
            f"{self._begin}{words}" if words else "", add_special_tokens=False
        ).ids
        odd = next((token for token in ids if token in self.special_ids), None)
        if odd is not None:
            raise UserError(
                f"text '{text}': has the special token {self._tokenizer.id_to_token(odd)!r}",
                "clean the transcripts",
            )
        return ids

    def decode(self, tokens: Iterable[int]) -> str:
        return " ".join(self._tokenizer.decode(list(tokens), skip_special_tokens=True).split())

    def piece(self, token: int) -> str:
        return str(self._tokenizer.decode([token], skip_special_tokens=False))

    def id_of(self, name: str) -> int | None:
        """Of a special token; None where there is none of that name."""
        found: int | None = self._tokenizer.token_to_id(name)
        return found

    @property
    def languages(self) -> list[str]:
        """Those that have a token."""
        found = re.findall(r"<\|([a-z]{2,3})\|>", " ".join(self._tokenizer.get_vocab()))
        return sorted(set(found))

    def save(self, folder: Path) -> None:
        target = folder / PRETRAINED_FILE
        if target.resolve() != self.path.resolve():
            copy_file(self.path, target)


def _is_special(added: Any) -> bool:
    """Timestamps are added tokens that the library does not call special."""
    return bool(added.special) or str(added.content).startswith("<|")


def pretrained_tokenizer(source: str, saved: Path | None = None) -> PretrainedTokenizer:
    """Of a model's folder or name on the hub; of a checkpoint of ours where `saved` is one."""
    if saved is not None and (saved / PRETRAINED_FILE).is_file():
        return PretrainedTokenizer(saved / PRETRAINED_FILE)
    return PretrainedTokenizer(_file_of(source))


def special_tokens(
    tokenizer: PretrainedTokenizer, config: dict[str, Any], language: str | None
) -> SpecialTokens:
    """Whisper's and Moonshine's, by a model's config.json with its generation_config.json over it.

    Raises UserError for a language that the model does not have, or where it has several and none is given.
    """
    prompt = [int(config["decoder_start_token_id"]), *_language(tokenizer, config, language)]
    plain = tokenizer.id_of("<|notimestamps|>")
    if plain is not None:
        prompt.append(plain)
    end, size = int(config["eos_token_id"]), int(config["vocab_size"])
    # Whisper's timestamps lie beyond the tokenizer's own ids.
    no_text = {*tokenizer.special_ids, *range(tokenizer.vocabulary_size, size)} - {end}
    no_speech = [tokenizer.id_of(name) for name in _NO_SPEECH]
    return SpecialTokens(
        prompt=tuple(prompt),
        end=end,
        no_speech=next((token for token in no_speech if token is not None), None),
        suppressed=tuple(sorted(no_text | set(config.get("suppress_tokens") or []))),
        suppressed_first=tuple(config.get("begin_suppress_tokens") or []),
    )


def _language(
    tokenizer: PretrainedTokenizer, config: dict[str, Any], language: str | None
) -> list[int]:
    """The tokens of language and task; none for a model of one language, which may yet have them by name."""
    known = tokenizer.languages if config["vocab_size"] >= _MULTILINGUAL_TOKENS else []
    if language is None and not known:
        return []
    if language not in known:
        raise UserError(
            f"model.language {language!r}: the pretrained model knows "
            + (f"{', '.join(known)}" if known else "one language"),
            "name one of them" if known else "set it to null",
        )
    names = (f"<|{language}|>", "<|transcribe|>")
    return [token for name in names if (token := tokenizer.id_of(name)) is not None]


def _file_of(source: str) -> Path:
    """tokenizer.json of a folder, or of a model on the hub. Raises UserError where there is none."""
    if Path(source).is_dir() or find_spec("huggingface_hub") is None:
        path = Path(source) / "tokenizer.json"
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        try:
            path = Path(hf_hub_download(source, "tokenizer.json"))
        except (OSError, ValueError, HfHubHTTPError) as error:
            reason = " ".join(str(error).split())[:150]
            raise UserError(
                f"model.pretrained '{source}': its tokenizer.json cannot be read ({reason})",
                "give the path of a folder with the model; a hub id needs a network that reaches the hub",
            ) from None
    if not path.is_file():
        raise UserError(
            f"model.pretrained '{source}': there is no {path}",
            "name a folder in Hugging Face's layout, with its tokenizer.json",
        )
    return path
