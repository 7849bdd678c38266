"""`asr export --to hf`: what transformers, or asr.load_model, reads of it is what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import final, same_weights
from safetensors.torch import load_file

import asr
from asr.__main__ import main


def export(folder: Path, output: Path, *options: str) -> dict[str, Any]:
    assert main(["export", str(folder), "--to", "hf", "--output", str(output), *options]) == 0
    found: dict[str, Any] = json.loads((output / "export.json").read_text("utf-8"))
    return found


def test_our_own_encoder_is_loaded_by_asr(fluent: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    about = export(fluent, output, "--model", "student", "--licence", "mit")
    assert about["checks"]["loads with"] == "asr.load_model"
    assert same_weights(output / "student.safetensors", final(fluent) / "student.safetensors")
    model = asr.load_model(output, weights="student", device="cpu")
    own = asr.load_model(fluent, weights="student", device="cpu")
    given = torch.randn(2, 16_000), torch.tensor([16_000, 9_000])
    assert torch.equal(model.logits(*given)[0], own.logits(*given)[0])
    assert not list(output.glob("optimizer*"))
    card = (output / "README.md").read_text("utf-8")
    assert 'weights="student"' in card
    assert "license: mit" in card


@pytest.mark.parametrize(
    "family", ["wav2vec2", "wavlm", "data2vec-audio", "wav2vec2-bert", "parakeet"]
)
def test_transformers_computes_what_a_pretrained_student_does(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from pretrained_helpers import pretrained_checkpoint, speech

    checkpoint = pretrained_checkpoint(tmp_path, family)
    output = tmp_path / "model"
    export(checkpoint, output)
    model = asr.load_model(checkpoint, device="cpu")
    wave = speech(24_000, seed=5)
    logits, frames = model.logits(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    network = transformers.AutoModelForCTC.from_pretrained(output).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(output)
    with torch.inference_mode():
        found = network(**extractor(wave, sampling_rate=16_000, return_tensors="pt")).logits
    count = int(frames)
    torch.testing.assert_close(found[:, :count], logits[:, :count], atol=1e-3, rtol=1e-3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    spelt = model.tokenizer.encode("ONE TOO")  # a blank keeps the two O apart
    path = [0, *spelt[:5], spelt[5], 0, *spelt[6:], 0]
    assert tokenizer.decode(path) == "ONE TOO"


def test_pieces_of_words_are_read_as_ours_are(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sentencepiece = pytest.importorskip("sentencepiece")
    from pretrained_helpers import pretrained_checkpoint

    texts = ["the cat sat on the mat", "a dog and the other cat", "no dog sat there at all"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 20),
        model_prefix=str(tmp_path / "pieces"),
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = {"kind": "sentencepiece", "sentencepiece_model": str(tmp_path / "pieces.model")}
    checkpoint = pretrained_checkpoint(tmp_path, "wav2vec2", pieces)
    output = tmp_path / "model"
    export(checkpoint, output)
    ours = asr.load_model(checkpoint, device="cpu").tokenizer
    theirs = transformers.AutoTokenizer.from_pretrained(output)
    for text in texts:
        tokens = ours.encode(text)
        path = [place for token in tokens for place in (0, token, token)]
        assert theirs.decode(path) == ours.decode(tokens) == text


def test_adapters_are_merged(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from pretrained_helpers import pretrained_checkpoint

    checkpoint = pretrained_checkpoint(tmp_path, "wav2vec2", lora={"rank": 2, "alpha": 4})
    output = tmp_path / "model"
    about = export(checkpoint, output)
    assert about["checks"]["difference"] < 1e-4
    names = load_file(output / "model.safetensors").keys()
    assert not [name for name in names if "lora" in name or "base_layer" in name]
    assert [name for name in names if name.endswith("q_proj.weight")]


def test_an_encoder_decoder_keeps_its_tied_weights_once(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from whisper_helpers import write_checkpoint, write_whisper

    write_whisper(tmp_path / "whisper", scale=4.0)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tmp_path / "whisper")
    output = tmp_path / "model"
    about = export(checkpoint, output)
    assert about["checks"]["difference"] < 1e-4
    names = load_file(output / "model.safetensors").keys()
    assert "model.decoder.embed_tokens.weight" in names
    assert "proj_out.weight" not in names
    network = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(output)
    assert network.proj_out.weight is network.model.decoder.embed_tokens.weight
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    special = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"])
    text = tokenizer.encode(" so", add_special_tokens=False)
    assert tokenizer.decode([*special, *text], skip_special_tokens=True) == " so"
    card = (output / "README.md").read_text("utf-8")
    assert "faster_whisper" in card
    assert "windows of 2 s" in card  # and faster-whisper's are of 30 s


def test_graphs_of_frames_want_a_ctc_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    from whisper_helpers import write_checkpoint, write_whisper

    write_whisper(tmp_path / "whisper")
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tmp_path / "whisper")
    output = tmp_path / "model"
    assert main(["export", str(checkpoint), "--to", "torch", "--output", str(output)]) == 2
    assert "--to hf" in capsys.readouterr().err
    assert not output.exists()


def test_eight_bits_are_of_onnx(
    fluent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(fluent), "--to", "hf", "--output", str(tmp_path / "m"), "--int8"]
    assert main(command) == 2
    assert "--to onnx" in capsys.readouterr().err
