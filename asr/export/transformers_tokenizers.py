"""Our tokenizers in the files of transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.encoder_decoder.tokenizer import PretrainedTokenizer
from asr.model.encoders.pretrained import PretrainedEncoder
from asr.model.loaded_model import LoadedModel
from asr.model.tokenizer import CharacterTokenizer, Tokenizer
from asr.utils.files import copy_file, write_json

_BLANK = "<pad>"
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_CONTROLS = {"<unk>", "<s>", "</s>"}


def write_ctc_tokenizer(tokenizer: Tokenizer, place: Path) -> None:
    """A tokenizer whose padding is the blank, and whose decoding is that of CTC."""
    if isinstance(tokenizer, CharacterTokenizer):
        _write_characters(tokenizer, place)
    else:
        _write_pieces(tokenizer, place)


def _write_characters(tokenizer: CharacterTokenizer, place: Path) -> None:
    import transformers

    boundary = next(sign for sign in ("|", "_", _SPACE) if sign not in tokenizer.characters)
    names = [_BLANK, boundary, *tokenizer.characters]
    vocabulary = place / "vocab.json"
    write_json(vocabulary, {name: number for number, name in enumerate(names)})
    made = transformers.Wav2Vec2CTCTokenizer(
        str(vocabulary),
        bos_token=None,
        eos_token=None,
        unk_token=_BLANK,
        pad_token=_BLANK,
        word_delimiter_token=boundary,
    )
    made.save_pretrained(place)


def _write_pieces(tokenizer: Tokenizer, place: Path) -> None:
    """Pieces of words, whose spaces are U+2581; it decodes, and spells as its longest pieces allow."""
    import transformers
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    size = tokenizer.vocabulary_size
    pieces = [tokenizer.piece(token).replace(" ", _SPACE) for token in range(1, size)]
    scored = [(_BLANK, 0.0), *((piece, -1.0 / max(1, len(piece))) for piece in pieces)]
    backend = Backend(models.Unigram(scored, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE)
    # sentencepiece says nothing for <s> and </s>, and for <unk> a sign that stands alone.
    written = {piece: tokenizer.decode([token]) for token, piece in enumerate(pieces, 1)}
    said = {
        name: f" {written[name]} " if written[name] else "" for name in _CONTROLS & written.keys()
    }
    steps = [decoders.Replace(name, text) for name, text in sorted(said.items())]
    backend.decoder = decoders.Sequence([*steps, decoders.Metaspace(_SPACE)])
    made = transformers.ParakeetTokenizer(tokenizer_object=backend, pad_token=_BLANK)
    made.save_pretrained(place)


def write_decoder_tokenizer(model: LoadedModel, encoder: PretrainedEncoder, place: Path) -> None:
    """The pretrained model's own file, and which class of transformers' reads it."""
    assert isinstance(model.tokenizer, PretrainedTokenizer)
    copy_file(model.tokenizer.path, place / "tokenizer.json")
    is_whisper = encoder.config.model_type == "whisper"
    about: dict[str, Any] = {
        "tokenizer_class": "WhisperTokenizer" if is_whisper else "PreTrainedTokenizerFast"
    }
    assert isinstance(model.network, EncoderDecoder)
    name = model.tokenizer.piece(model.network.special.end)
    about |= dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), name)
    # Else transformers writes them into texts.
    special = sorted(model.tokenizer.special_ids)
    about["extra_special_tokens"] = [model.tokenizer.piece(token) for token in special]
    write_json(place / "tokenizer_config.json", about)
    if is_whisper:
        write_json(place / "processor_config.json", {"processor_class": "WhisperProcessor"})


def generation_settings(
    tokenizer: PretrainedTokenizer, network: EncoderDecoder, settings: dict[str, Any], kind: str
) -> dict[str, Any]:
    """A model's generation_config.json, with what transformers' Whisper asks of it where that says nothing."""
    found = dict(settings)
    if kind != "whisper":
        return found
    names = {f"<|{language}|>" for language in tokenizer.languages}
    is_multilingual = len(network.special.prompt) > 2  # a language and a task
    found.setdefault("max_length", network.decoder.places)
    found.setdefault("is_multilingual", is_multilingual)
    found.setdefault("no_timestamps_token_id", tokenizer.id_of("<|notimestamps|>"))
    if is_multilingual:
        found.setdefault("lang_to_id", {name: tokenizer.id_of(name) for name in sorted(names)})
        tasks = {name: tokenizer.id_of(f"<|{name}|>") for name in ("transcribe", "translate")}
        found.setdefault("task_to_id", tasks)
        found.setdefault("task", "transcribe")
        found.setdefault("language", tokenizer.piece(network.special.prompt[1]))
    return found
