"""Transcripts against a tokenizer: whether they can be spelt, and how many tokens they have a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from asr.config.model import EncoderDecoderConfig
from asr.config.schema import Config
from asr.data.dataset import SpeechSet
from asr.errors import UserError
from asr.evaluation.normalisers import make_normaliser
from asr.model.tokenizer import Tokenizer, make_tokenizer

_MOST_TRANSCRIPTS_COUNTED = 10_000


class NormalisedTokenizer:
    """A tokenizer before which something is done to every transcript."""

    def __init__(self, tokenizer: Tokenizer, normalise: Callable[[str], str]) -> None:
        self._tokenizer, self._normalise = tokenizer, normalise

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.vocabulary_size

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(self._normalise(text))

    def decode(self, tokens: Iterable[int]) -> str:
        return self._tokenizer.decode(tokens)

    def piece(self, token: int) -> str:
        return self._tokenizer.piece(token)

    def save(self, folder: Path) -> None:
        self._tokenizer.save(folder)


def training_tokenizer(config: Config, saved: Path | None = None) -> Tokenizer:
    """What spells a recipe's transcripts; `saved` is a checkpoint that has the pretrained model's own.

    Raises UserError where it cannot be had.
    """
    model = config.model
    if isinstance(model, EncoderDecoderConfig):
        from asr.model.encoder_decoder.tokenizer import pretrained_tokenizer

        tokenizer: Tokenizer = pretrained_tokenizer(model.pretrained, saved)
    else:
        tokenizer = make_tokenizer(config.tokenizer)
    name = config.tokenizer.normaliser
    if name == "none":
        return tokenizer
    return NormalisedTokenizer(tokenizer, make_normaliser(name).apply)


def check_transcripts(speech: SpeechSet, tokenizer: Tokenizer) -> None:
    """Raises UserError, naming an utterance, where a transcript is missing or cannot be spelt.

    By the characters of the manifests, and not transcript by transcript: there may be millions.
    """
    empty = speech.without_text()
    if len(empty):
        raise UserError(
            f"utterance '{speech.ids[int(empty[0])]}' of corpus.labelled has no transcript",
            "move it to an untranscribed set",
        )
    lacking = {character for character in speech.characters if not is_spelt(tokenizer, character)}
    if not lacking and not any(speech.reference_overrides):
        return
    for utterance_id, text in zip(speech.ids, speech.references, strict=True):
        if lacking.intersection(text) or any(speech.reference_overrides):
            try:
                tokenizer.encode(text)
            except UserError as error:
                raise error.at(f"utterance '{utterance_id}'") from None


def is_spelt(tokenizer: Tokenizer, character: str) -> bool:
    """Whether a tokenizer has tokens for a character."""
    try:
        tokenizer.encode(character)
    except UserError:
        return False
    return True


def tokens_per_second_of(speech: SpeechSet, tokenizer: Tokenizer) -> float:
    """Of all transcripts, or of some spread over a large corpus."""
    step = max(1, len(speech) // _MOST_TRANSCRIPTS_COUNTED)
    tokens = sum(len(tokenizer.encode(text)) for text in speech.references[::step])
    return tokens / max(1e-9, float(speech.seconds[::step].sum()))
