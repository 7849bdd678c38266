"""Transcripts against a tokenizer: whether they can be spelt, and how many tokens they have a second."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from asr.config.model import EncoderDecoderConfig
from asr.config.schema import Config
from asr.data.dataset import SpeechSet, load_dev_sets
from asr.data.spelling import (
    NormalisedTokenizer,
    count_lacking,
    is_spelt,
    remedy_for,
    shown_counts,
)
from asr.errors import UserError
from asr.evaluation.normalisers import make_normaliser
from asr.model.tokenizer import NoTokenizer, Tokenizer, make_tokenizer

_MOST_TRANSCRIPTS_COUNTED = 10_000


def training_tokenizer(config: Config, saved: Path | None = None) -> Tokenizer:
    """What spells a recipe's transcripts; `saved` is a checkpoint that has the pretrained model's own.

    Raises UserError where it cannot be had.
    """
    model = config.model
    if not config.objective.has_texts:
        return NoTokenizer()
    if isinstance(model, EncoderDecoderConfig):
        from asr.model.encoder_decoder.tokenizer import pretrained_tokenizer

        tokenizer: Tokenizer = pretrained_tokenizer(model.pretrained, saved)
    else:
        tokenizer = make_tokenizer(config.tokenizer)
    name = config.tokenizer.normaliser
    if name == "none":
        return tokenizer
    return NormalisedTokenizer(tokenizer, make_normaliser(name, "tokenizer.normaliser").apply)


def check_transcripts(speech: SpeechSet, tokenizer: Tokenizer) -> None:
    """Raises UserError where one is missing, or where some cannot be spelt: their characters, counts, a remedy.

    By the characters of the manifests, and not transcript by transcript: there may be millions.
    """
    empty = speech.without_text()
    if len(empty):
        raise UserError(
            f"{len(empty):,} of {len(speech):,} utterances of corpus.labelled ('{speech.name}') have no "
            f"transcript, the first '{speech.ids[int(empty[0])]}'",
            "move their set to corpus.untranscribed, or prepare it with its transcripts",
        )
    lacking = {character for character in speech.characters if not is_spelt(tokenizer, character)}
    if not lacking and not any(speech.reference_overrides):
        return
    count, first, counts = 0, "", Counter[str]()
    for place, text in enumerate(speech.references):
        if not lacking.isdisjoint(text) or any(speech.reference_overrides):
            try:
                tokenizer.encode(text)
            except UserError:
                count += 1
                first = first or speech.ids[place]
                counts += count_lacking(tokenizer, [text])
    if count:
        raise unspelt(tokenizer, speech, count, first, counts)


def unspelt(
    tokenizer: Tokenizer, speech: SpeechSet, count: int, first: str, lacking: Counter[str]
) -> UserError:
    """What is said of `count` transcripts of a set that have `lacking` characters, by their counts."""
    listed = f": it lacks {shown_counts(lacking)}" if lacking else ""
    return UserError(
        f"{count:,} of {len(speech):,} transcripts of '{speech.name}' cannot be spelt by the tokenizer, the "
        f"first that of utterance '{first}'{listed}",
        remedy_for(tokenizer, "".join({*speech.characters, *lacking}), lacking),
    )


def tokens_per_second_of(speech: SpeechSet, tokenizer: Tokenizer) -> float:
    """Of all transcripts, or of some spread over a large corpus."""
    step = max(1, len(speech) // _MOST_TRANSCRIPTS_COUNTED)
    tokens = sum(len(tokenizer.encode(text)) for text in speech.references[::step])
    return tokens / max(1e-9, float(speech.seconds[::step].sum()))


def tokens_per_second_of_dev(config: Config, tokenizer: Tokenizer) -> float:
    """Tokens a second of the first dev set that has references; 0 where none has."""
    for speech in load_dev_sets(config):
        try:
            if not len(speech.without_text()):
                return tokens_per_second_of(speech, tokenizer)
        except UserError:  # with letters that nobody has to spell
            continue
    return 0.0
