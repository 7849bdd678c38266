"""A trained model's folder is loaded, averaged, or refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LETTERS, tones
from safetensors.torch import load_file, save_file

from asr.__main__ import main
from asr.errors import UserError
from asr.model.model_folder import find_checkpoint, load_average, load_model


def test_decoding_does_not_depend_on_the_batch(trained: Path) -> None:
    model = load_model(find_checkpoint(trained), "teacher", torch.device("cpu"))
    random = np.random.default_rng(1)
    pieces = [torch.from_numpy(tones(text, random)) for text in ("abc", "hgf edc ba", "a")]
    lengths = torch.tensor([len(piece) for piece in pieces])
    batch = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    together, frames = model.logits(batch, lengths)
    for index, piece in enumerate(pieces):
        alone, [count] = model.logits(piece[None], lengths[index : index + 1])
        assert count == frames[index]
        assert (together[index, :count] - alone[0]).abs().max() < 1e-4


def test_what_is_no_model_folder_is_named(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        find_checkpoint(tmp_path)
    folder = tmp_path / "damaged"
    shutil.copytree(find_checkpoint(trained), folder)
    (folder / "teacher.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"teacher.safetensors: damaged .*SHA-256 differs"):
        load_model(folder, "teacher")
    without_identity(folder)  # as of an older version
    with pytest.raises(UserError, match="not this model's weights"):
        load_model(folder, "teacher")


def without_identity(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    del state["identity"]
    (folder / "state.json").write_text(json.dumps(state))


def test_nan_weights_and_what_is_no_file_are_refused_by_name(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_checkpoint(trained), tmp_path / "copy"))
    path = folder / "teacher.safetensors"
    weights = load_file(path)
    name = sorted(weights)[3]
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, path)
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_model(folder)
    without_identity(folder)
    with pytest.raises(UserError, match=f"teacher.safetensors: '{name}' holds NaN"):
        load_model(folder)
    for file in ("teacher.safetensors", "config.yaml"):  # a pipe was waited for, for ever
        (folder / file).unlink()
        os.mkfifo(folder / file)
        with pytest.raises(UserError, match=r"a pipe|not a regular file|neither a checkpoint"):
            load_model(folder)


def test_another_tokenizer_is_not_decoded_with(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoint"
    shutil.copytree(find_checkpoint(trained), copy)
    assert load_model(copy, "teacher").tokenizer.decode([2]) == LETTERS[0]
    other = {"kind": "characters", "characters": LETTERS[::-1]}
    (copy / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"tokenizer.json: damaged .*SHA-256 differs"):
        load_model(copy, "teacher")
    without_identity(copy)
    with pytest.raises(UserError, match="not the one that the model was trained with"):
        load_model(copy, "teacher")
    (copy / "state.json").unlink()  # weights alone: nobody can tell
    assert load_model(copy, "teacher").tokenizer.decode([2]) == LETTERS[-1]


def test_an_average_of_checkpoints_by_name(trained: Path, corpus: Path, tmp_path: Path) -> None:
    checkpoints = sorted((trained / "checkpoints").iterdir())
    count = len(checkpoints)
    model = load_average(trained, "student", count, torch.device("cpu"))
    weights = [load_file(c / "student.safetensors") for c in checkpoints]
    for name, parameter in model.network.named_weights():
        mean = torch.stack([w[name] for w in weights]).mean(dim=0)
        assert torch.allclose(parameter, mean, atol=1e-6)
    output = tmp_path / "out.jsonl"
    command = ["decode", str(trained), str(corpus / "dev.jsonl.gz"), "--output", str(output)]
    assert main([*command, "--model", "student", "--average", "2"]) == 0
    stamp = json.loads(output.with_suffix(".stamp.json").read_text())
    assert stamp["average_of"] == [str(path) for path in checkpoints[-2:]]
    assert main([*command, "--average", str(count + 1)]) == 2
