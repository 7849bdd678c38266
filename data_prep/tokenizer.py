"""A sentencepiece model from the transcripts of prepared sets."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from asr.data.manifest.index import open_index
from asr.data.manifest.rows import text_of
from asr.errors import UserError
from asr.utils.files import replacing

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

_SHOWN = 5
MODEL = "tokenizer.model"
"""File that `tokenizer.sentencepiece_model` of a recipe names."""
VOCABULARY = "tokenizer.vocab"
"""The pieces in order, one a line, for people."""


def train_tokenizer(
    manifests: list[Path], output: Path, kind: str = "unigram", vocabulary_size: int = 500
) -> None:
    """Train on the texts of the cuts, and on nothing else; equal texts give an equal model.

    `kind` is bpe or unigram. Piece 0 is <unk>; there is no start or end piece, CTC has no use for
    them. Text is not normalised again. Raises UserError without text, or when the texts cannot
    fill the vocabulary, or hold what sentencepiece keeps for itself, as <unk>.
    """
    import sentencepiece

    given = (" ".join(text.split()) for text in texts_of(manifests))
    texts = [text for text in given if text]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=kind,
            vocab_size=vocabulary_size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            bos_id=-1,
            eos_id=-1,
            unk_id=0,
            shuffle_input_sentence=False,
            max_sentence_length=1 << 20,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError, ValueError) as error:
        most = re.search(r"value <= (\d+)", str(error))
        least = re.search(r"required_chars\D*\d+ vs (\d+)", str(error))
        raise UserError(
            f"--vocabulary-size {vocabulary_size}: sentencepiece cannot train on {len(texts)} "
            f"transcripts: {' '.join(str(error).split())}",
            f"set --vocabulary-size {most[1]}, or give more transcripts"
            if most
            else f"set --vocabulary-size {least[1]} or more"
            if least
            else "ask for another number of tokens, or give more transcripts",
        ) from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    _check_spelt(processor, texts)
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    with replacing(output / VOCABULARY) as file:
        file.write("".join(f"{piece}\n" for piece in pieces).encode())
    with replacing(output / MODEL) as file:
        file.write(model.getvalue())
    print(f"{output / MODEL}: {len(pieces)} pieces from {len(texts)} transcripts")


def _check_spelt(processor: SentencePieceProcessor, texts: list[str]) -> None:
    """Raises UserError where the model cannot spell what it was trained on."""
    unknown = processor.unk_id()
    unspelt = [text for text in texts if unknown in processor.encode(text)]
    if unspelt:
        words = Counter(word for text in unspelt for word in text.split())
        own = {word: n for word, n in words.items() if unknown in processor.encode(word)}
        shown = ", ".join(f"'{word}' {count:,}" for word, count in Counter(own).most_common(_SHOWN))
        raise UserError(
            f"{len(unspelt):,} of {len(texts):,} transcripts hold what sentencepiece keeps for itself: {shown}",
            "prepare the set again with --characters and the letters of its texts, which rejects these; or "
            "with --normaliser FILE.py:FUNCTION, which takes it out",
        )


def texts_of(manifests: list[Path]) -> list[str]:
    """The transcripts of prepared sets, NAME.jsonl.gz or NAME.shar. Raises UserError without any."""
    texts: list[str] = []
    for path in manifests:
        index = open_index(path)
        texts += filter(None, (text_of(index.record(row)) for row in range(len(index))))
    if not texts:
        names = ", ".join(map(str, manifests))
        raise UserError(f"--cuts {names}: no transcripts in there", "name a labelled set")
    return texts
