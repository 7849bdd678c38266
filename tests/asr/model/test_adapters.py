"""Adapters in an encoder-decoder: they alone are trained and stored, and want the weights beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("peft")

from moonshine_helpers import write_moonshine
from whisper_helpers import built, decoder_config, noise_features, write_whisper

from asr.data.transcripts import training_tokenizer
from asr.decoding.generation import generate
from asr.distributed.fine_tuning import FineTuning
from asr.errors import UserError
from asr.model.make import make_model
from asr.planning.estimates import parameter_count

WRITE = {"moonshine": write_moonshine, "whisper": write_whisper}
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.1}
LENGTHS = (31_000, 24_000)


@pytest.mark.parametrize("family", WRITE)
def test_adapters_alone_are_trained_and_stored(family: str, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    WRITE[family](tmp_path / "base")
    plain = built(decoder_config(tmp_path / "base"))
    config = decoder_config(tmp_path / "base", lora=LORA, ctc_weight=0.3, layer_decay=0.5)
    network = built(config)
    features = noise_features(config, network, LENGTHS, [0, 1])
    tokens = [training_tokenizer(config).encode("ab c"), [1]]
    logits = network(*features, tokens=tokens)[0]
    torch.testing.assert_close(logits, plain(*features, tokens=tokens)[0], atol=1e-6, rtol=0)
    weights = dict(network.named_weights())
    assert all(".lora_" in name or name.startswith("ctc_head.") for name in weights)
    assert {name.split(".")[0] for name in weights} == {"encoder", "decoder", "ctc_head"}
    assert parameter_count(config, 1) == sum(weight.numel() for weight in weights.values())
    shares = {group["factor"] for group in FineTuning.of(config).groups(network)}
    assert shares == {1.0, 0.5, 0.25}, "a new head, and two layers of both sides"

    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network.train().set_dropout(0.0, 0.0)
    for _ in range(2):  # with the first step the one half of them is still zero
        sum(part.square().sum() for part in network(*features, tokens=tokens)[::2]).backward()
        optimizer.step()
    assert all(weight.grad is not None and weight.grad.any() for weight in weights.values())
    network.eval()
    changed = network(*features, tokens=tokens)[0]
    assert (changed - logits).abs().max() > 1e-3

    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    network.save_description(checkpoint)
    training_tokenizer(config).save(checkpoint)
    assert not list(checkpoint.rglob("*.safetensors"))
    again = make_model(config, 1, checkpoint, with_weights=False).eval()
    again.load_weights({name: weight.detach() for name, weight in weights.items()})
    assert torch.equal(again(*features, tokens=tokens)[0], changed)
    written = generate(network, *features, most_tokens=[5, 5])
    assert generate(built(config), *features, most_tokens=[5, 5]) != written
    assert generate(again, *features, most_tokens=[5, 5]) == written

    named = decoder_config(checkpoint, lora=LORA)
    with pytest.raises(UserError, match="is a checkpoint of adapters"):
        make_model(named, 1)
    base = load_file(tmp_path / "base/model.safetensors")
    name = next(name for name in base if "decoder.layers.0" in name)
    save_file({**base, name: base[name] + 1}, tmp_path / "base/model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"base.json: .* has other weights"):
        make_model(config, 1, checkpoint, with_weights=False)
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"base.json: its adapters need the weights of"):
        make_model(config, 1, checkpoint, with_weights=False)


def test_bf16_casts_the_weights_beside_adapters_too(tmp_path: Path) -> None:
    write_whisper(tmp_path)
    network = built(decoder_config(tmp_path, lora=LORA))
    features_BTF, lengths_B = noise_features(
        decoder_config(tmp_path, lora=LORA), network, LENGTHS, [0, 1]
    )
    plain = network(features_BTF, lengths_B, tokens=[[1], [2]])[0]
    for weight in network.parameters():  # as an engine does, without the rest
        weight.data = weight.data.to(torch.bfloat16)
    cast = network(features_BTF.to(torch.bfloat16), lengths_B, tokens=[[1], [2]])[0]
    assert cast.dtype == torch.bfloat16
    assert (cast.float() - plain).abs().max() < 0.1 * plain.abs().max()
