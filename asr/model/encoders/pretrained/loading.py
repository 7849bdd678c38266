"""A folder in Hugging Face's layout, or a hub id -> one of our encoders. Needs transformers.

Weights are read from safetensors, and no code that comes with a model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.models.whisper import modeling_whisper

from asr.errors import UserError
from asr.model.encoders.pretrained.base import base_of, check_base
from asr.model.encoders.pretrained.constants import weights_sha256
from asr.model.encoders.pretrained.encoder import (
    CONSTANTS_FILE,
    FOLDER,
    CtcHead,
    PretrainedEncoder,
)
from asr.model.encoders.pretrained.parakeet import ParakeetEncoder
from asr.model.encoders.pretrained.wav2vec2 import Wav2Vec2Encoder, WavLMEncoder
from asr.model.encoders.pretrained.wav2vec2_bert import Wav2Vec2BertEncoder
from asr.model.encoders.pretrained.whisper import WhisperEncoder


@dataclass(frozen=True)
class Family:
    """How transformers' model of a family becomes an encoder of ours."""

    encoder: Callable[[Any, Any, Any], PretrainedEncoder]
    part: str = ""
    """Where its encoder lies in transformers' CTC model; empty for where that says."""
    head: str = "lm_head"
    """Its CTC head, where it has one."""
    module: Any = None
    """transformers' class of the encoder alone, where AutoModel gives more than that."""


FAMILIES: Mapping[str, Family] = {
    "data2vec-audio": Family(Wav2Vec2Encoder),
    "hubert": Family(Wav2Vec2Encoder),
    "parakeet_ctc": Family(ParakeetEncoder, part="encoder", head="ctc_head"),
    "parakeet_encoder": Family(ParakeetEncoder),
    "wav2vec2": Family(Wav2Vec2Encoder),
    "wav2vec2-bert": Family(Wav2Vec2BertEncoder),
    "wavlm": Family(WavLMEncoder),
    "whisper": Family(WhisperEncoder, module=modeling_whisper.WhisperEncoder),
}
"""By `model_type` of config.json."""


def load(source: str, with_weights: bool) -> PretrainedEncoder:
    """As `load_encoder`, where transformers is installed."""
    folder = Path(source)
    if (folder / FOLDER / "config.json").is_file():
        folder = folder / FOLDER
    if not folder.is_dir() and (source.count("/") > 1 or source.startswith((".", "/", "~"))):
        raise UserError(f"model.encoder '{source}': no such folder", "give its path, or a hub id")
    named = str(folder) if folder.is_dir() else source
    with base_of(folder) as base:
        beside = None if base is None else load(base.source, True)
    if base is not None and beside is not None:
        check_base(folder, base, weights_sha256(beside.network))
        return beside
    with _quiet():
        config = _read(source, lambda: _json(transformers.AutoConfig, named))
        family = FAMILIES.get(config.model_type)
        if family is None:
            raise UserError(
                f"model.encoder '{source}': model_type '{config.model_type}' has no encoder here",
                f"take one of {', '.join(FAMILIES)}",
            )
        extractor = _read(source, lambda: _json(transformers.AutoFeatureExtractor, named))
        is_ctc = any(name.endswith("ForCTC") for name in config.architectures or [])
        auto = transformers.AutoModelForCTC if is_ctc else family.module or transformers.AutoModel
        if with_weights:
            model = _with_weights(source, named, auto)
        elif family.module is not None:
            model = family.module(config)
        else:
            model = auto.from_config(config, dtype=torch.float32)
        network = getattr(model, family.part or model.base_model_prefix) if is_ctc else model
        encoder = family.encoder(network, config, extractor)
        encoder.source = str(folder.resolve()) if folder.is_dir() else source
        if with_weights and is_ctc:
            encoder.head = _head(named, getattr(model, family.head), config)
    if not with_weights and encoder.constants():
        _read_constants(source, folder, encoder)
    return encoder


def _json(auto: Any, named: str) -> Any:
    """Of code that comes with a model transformers would ask whether it may run."""
    return auto.from_pretrained(named, trust_remote_code=False)


def _with_weights(source: str, named: str, auto: Any) -> Any:
    folder = Path(named)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickles = ", ".join(sorted(p.name for p in folder.glob("*.bin"))) or "no weights"
        raise UserError(
            f"model.encoder '{source}': has {pickles} and no *.safetensors, and a pickle is not opened",
            f'convert it where you trust it: python -c "import transformers as t; m = t.{auto.__name__}.'
            f"from_pretrained('{named}', use_safetensors=False); m.save_pretrained('{named}')\"",
        )
    is_auto = auto.__name__.startswith("Auto")
    model, found = _read(
        source,
        lambda: auto.from_pretrained(
            named,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            # Of an encoder-decoder its encoder alone is read.
            key_mapping={r"^(model\.)?encoder\.": ""} if not is_auto else None,
        ),
    )
    missing = [n for n in found["missing_keys"] if not n.endswith("masked_spec_embed")]
    missing += [str(name) for name in found["mismatched_keys"]]
    if missing:
        raise UserError(
            f"model.encoder '{source}': {len(missing)} weights are missing or have another shape "
            f"({missing[0]}, ...)",
            "its config.json is not that of its weights: copy both again",
        )
    return model


def _head(named: str, head: Any, config: Any) -> CtcHead | None:
    """Of a whole CTC model; None where its tokens cannot be read."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(named, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError):  # TypeError: no file of a vocabulary
        return None
    weight_VD = head.weight.detach()
    weight_VD = weight_VD.flatten(1) if weight_VD.dim() > 2 else weight_VD
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(weight_VD))))
    boundary = getattr(tokenizer, "word_delimiter_token", None)
    blank = config.pad_token_id
    vocabulary = tuple(
        "" if index == blank else " " if token == boundary else str(token).replace("▁", " ")
        for index, token in enumerate(tokens)
    )
    return CtcHead(weight_VD.clone(), head.bias.detach().clone(), vocabulary)


def _read_constants(source: str, folder: Path, encoder: PretrainedEncoder) -> None:
    """From the file that `save` wrote, or else from the weights."""
    if next(encoder.parameters()).is_meta:  # shapes alone are wanted
        return
    saved = folder / CONSTANTS_FILE
    try:
        found = load_file(saved) if saved.is_file() else load(source, True).constants()
        encoder.set_constants(found)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{saved}: not what belongs to its config.json ({' '.join(str(error).split())[:150]})",
            "copy the folder again, all its files together",
        ) from None


def _read(source: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        if Path(source).is_dir():
            remedy = "name a folder with config.json, preprocessor_config.json and *.safetensors"
        else:
            remedy = "give the path of a folder with the model; a hub id needs a network that reaches the hub"
        raise UserError(f"model.encoder '{source}': cannot be read ({reason})", remedy) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers reports every tensor that it does not take; we check what matters."""
    logging = transformers.utils.logging
    before, showed = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if showed:
            logging.enable_progress_bar()
