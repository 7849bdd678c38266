"""Transcripts against a tokenizer: whether they can be spelt, and how many tokens they have a second."""

from __future__ import annotations

from asr.data.dataset import SpeechSet
from asr.errors import UserError
from asr.model.tokenizer import Tokenizer

_MOST_TRANSCRIPTS_COUNTED = 10_000


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
