"""Pretrained encoders against transformers' own, and what the toolkit promises of every encoder."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from pretrained_helpers import FAMILIES, own_output, speech, write_pretrained  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.nn.utils.rnn import pad_sequence  # noqa: E402

from asr.config.model import LoraConfig  # noqa: E402
from asr.errors import UserError  # noqa: E402
from asr.model.dropout import UtteranceDraws, drawn_by  # noqa: E402
from asr.model.encoders.pretrained import PretrainedEncoder, load_encoder  # noqa: E402
from asr.model.encoders.pretrained.lora import add_lora  # noqa: E402
from asr.model.masks import masked_by  # noqa: E402

Speech = list[torch.Tensor]
LENGTHS = (20_123, 9_000, 3_333)


@pytest.fixture(scope="module", params=FAMILIES)
def pretrained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(family, its folder, transformers' model, our encoder)."""
    folder = tmp_path_factory.mktemp(request.param)
    model = write_pretrained(folder, request.param)
    return request.param, folder, model, load_encoder(str(folder))


def hidden(
    encoder: PretrainedEncoder,
    waveforms: Speech,
    kept_BL: torch.Tensor | None = None,
    **options: Any,
) -> Speech:
    """Hidden states of each utterance, without the padding."""
    front_end = encoder.front_end()
    samples_B = torch.tensor([len(waveform) for waveform in waveforms])
    features, lengths_B = front_end(pad_sequence(waveforms, batch_first=True), samples_B)
    assert torch.equal(lengths_B, front_end.frames(samples_B))
    excess = -features.shape[1] % front_end.frame_multiple
    features = torch.nn.functional.pad(features, (*(0, 0) * (features.dim() - 2), 0, excess))
    hidden_BSD, frames_B = encoder(features, lengths_B, kept_BL, **options)
    assert torch.equal(frames_B, encoder.output_lengths(lengths_B))
    assert torch.isfinite(hidden_BSD).all()
    return [own[:frames] for own, frames in zip(hidden_BSD, frames_B.tolist(), strict=True)]


@torch.no_grad()
def test_features_and_hidden_states_are_transformers_own(pretrained: Any) -> None:
    family, folder, model, encoder = pretrained
    waveform = torch.from_numpy(speech(480_000 if family == "whisper" else LENGTHS[0]))
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    features, expected = own_output(family, model, extractor, waveform.numpy())
    own, lengths = encoder.front_end()(waveform[None], torch.tensor([len(waveform)]))
    assert encoder.front_end().sample_rate_hz == extractor.sampling_rate
    assert torch.allclose(own, features[:, : int(lengths)], atol=3e-5)
    [found] = hidden(encoder.eval(), [waveform])
    frame_samples = encoder.front_end().hop_samples * encoder.stride
    assert len(waveform) / len(found) == pytest.approx(frame_samples, rel=0.04)
    assert torch.allclose(found, expected[0, : len(found)], atol=3e-5)


@torch.no_grad()
@pytest.mark.parametrize("reach", [None, 3])
def test_batch_mates_change_nothing(pretrained: Any, reach: int | None) -> None:
    *_, encoder = pretrained
    waveforms = [torch.from_numpy(speech(samples, seed=samples)) for samples in LENGTHS]
    together = hidden(encoder.eval(), waveforms, reach=reach)
    for waveform, found in zip(waveforms, together, strict=True):
        [alone] = hidden(encoder, [waveform], reach=reach)
        assert (alone - found).abs().max() < 1e-5
    if reach is not None:
        assert (together[0] - hidden(encoder, waveforms[:1])[0]).abs().max() > 1e-3


def test_what_training_draws_belongs_to_the_utterance(pretrained: Any) -> None:
    """Dropout and skipped layers; and every weight gets a gradient, whoever skips what."""
    _, folder, _, _ = pretrained
    encoder = load_encoder(str(folder)).train()
    encoder.set_dropout(0.3, 0.2)
    waveforms = [torch.from_numpy(speech(samples, seed=samples)) for samples in LENGTHS]
    kept_BL = torch.tensor([[True, False], [False, True], [False, False]])

    def trained(rows: list[int]) -> Speech:
        chosen = [waveforms[row] for row in rows]
        lengths_B = encoder.front_end().frames(torch.tensor([len(w) for w in chosen]))
        generators = [torch.Generator().manual_seed(row) for row in rows]
        frames = encoder.output_lengths(lengths_B).tolist()
        with drawn_by(UtteranceDraws(generators, frames)):
            return hidden(encoder, chosen, kept_BL[rows])

    together = trained([0, 1, 2])
    again = trained([0, 1, 2])
    for row, found in enumerate(together):
        assert torch.equal(found, again[row])
        assert (trained([row])[0] - found).abs().max() < 1e-5
    encoder.set_attention_dropout(0.5)
    assert (trained([0])[0] - together[0]).abs().max() > 1e-3
    encoder.set_attention_dropout(0.0)
    encoder.eval()
    assert (hidden(encoder, waveforms, kept_BL)[0] - together[0]).abs().max() > 1e-2
    encoder.train()
    sum(own.square().sum() for own in together).backward()  # type: ignore[union-attr]
    for name, parameter in encoder.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@torch.no_grad()
def test_a_checkpoint_needs_the_pretrained_model_no_more(pretrained: Any, tmp_path: Path) -> None:
    _, folder, _, encoder = pretrained
    encoder.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 2**21
    again = load_encoder(str(tmp_path), with_weights=False)
    weights = dict(encoder.named_parameters())
    again.load_state_dict(weights)  # all but the constants, which `save` wrote
    assert encoder.state_dict().keys() == dict(encoder.named_parameters()).keys()
    waveform = torch.from_numpy(speech(9_000))
    assert torch.equal(hidden(again.eval(), [waveform])[0], hidden(encoder.eval(), [waveform])[0])
    bare = load_encoder(str(folder), with_weights=False)
    for name, value in encoder.constants().items():
        assert torch.equal(bare.constants()[name], value)
    copy.deepcopy(encoder).bfloat16().save(tmp_path)
    for name, value in load_file(tmp_path / "pretrained" / "buffers.safetensors").items():
        assert torch.equal(value, bare.constants()[name])


def test_masks_fall_on_features_or_on_what_the_front_end_makes_of_the_waveform(
    pretrained: Any,
) -> None:
    family, _, _, encoder = pretrained
    waveforms = [torch.from_numpy(speech(samples, seed=samples)) for samples in LENGTHS]
    plain = hidden(encoder.eval(), waveforms)
    given = []

    def masks(
        features_BTF: torch.Tensor, lengths_B: torch.Tensor, *, filling_F: torch.Tensor | None
    ) -> torch.Tensor:
        given.append((features_BTF, lengths_B, filling_F))
        return features_BTF.index_fill(0, torch.tensor([1]), 0.5)

    with masked_by(masks):
        found = hidden(encoder, waveforms)
    if encoder.front_end().takes_masks:
        assert not given
    else:
        [(features, frames, filling)] = given
        assert features.shape[2] == encoder.width
        assert torch.equal(frames, torch.tensor([len(own) for own in plain]))
        assert filling is not None
        assert torch.equal(filling, encoder.constants()["masked_spec_embed"])
        assert (found[1] - plain[1]).abs().max() > 1e-2
    for row in (0, 2) if given else range(3):
        assert torch.equal(found[row], plain[row])
    assert encoder.front_end().takes_masks == (family in ("whisper", "parakeet"))


def test_what_is_frozen_has_no_backward_pass(pretrained: Any) -> None:
    encoder = load_encoder(str(pretrained[1])).train()
    waveform = torch.from_numpy(speech(9_000))
    encoder.freeze(front_end=True, layers=True)
    assert not hidden(encoder, [waveform])[0].requires_grad
    encoder.freeze(front_end=True, layers=False)
    hidden(encoder, [waveform])[0].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is None) == (encoder.depth(name) == 0), name
    encoder.freeze(front_end=False, layers=False)
    hidden(encoder, [waveform])[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_an_evaluation_in_bf16_leaves_what_training_can_use(pretrained: Any) -> None:
    encoder = load_encoder(str(pretrained[1]))
    for parameter in encoder.parameters():  # as an engine does, and leaves the constants
        parameter.data = parameter.data.bfloat16()
    front_end = encoder.front_end()
    features, lengths_B = front_end(torch.from_numpy(speech(9_000))[None], torch.tensor([9_000]))
    with torch.inference_mode():
        encoder.eval()(features.bfloat16(), lengths_B)
    found, _ = encoder.train()(features.bfloat16(), lengths_B)
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()


def test_batch_statistics_are_neither_trained_nor_moved(pretrained: Any) -> None:
    *_, encoder = pretrained
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    hidden(encoder.train(), [torch.from_numpy(speech(9_000))])
    for name, buffer in encoder.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_depth_grows_with_the_layers(pretrained: Any) -> None:
    *_, encoder = pretrained
    depths = {name: encoder.depth(name) for name, _ in encoder.named_parameters()}
    assert min(depths.values()) == 0
    assert max(depths.values()) in (encoder.layers, encoder.layers + 1)
    for name, depth in depths.items():
        if ".layers.1.self_attn." in name or ".layers.1.attention." in name:
            assert depth == 2
        if ".conv1." in name or "feature_extractor" in name or "subsampling" in name:
            assert depth == 0


@torch.no_grad()
def test_a_piece_is_scaled_by_its_whole_recording(pretrained: Any) -> None:
    *_, encoder = pretrained
    front_end = encoder.front_end()
    waveform = torch.from_numpy(speech(LENGTHS[0]))
    recording = front_end.survey(waveform.split(3000))
    assert recording.samples == len(waveform)
    samples_B = torch.tensor([len(waveform)])
    whole, _ = front_end(waveform[None], samples_B)
    surveyed, _ = front_end(waveform[None], samples_B, recording)
    assert (surveyed - whole).abs().max() < 0.06 * whole.abs().max()


def test_the_head_of_a_ctc_model_comes_along(tmp_path: Path) -> None:
    model = write_pretrained(tmp_path, "wav2vec2-large")
    assert (
        load_encoder(str(tmp_path)).head_weights() is None
    )  # no tokens: nobody knows what its rows are
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFG"]
    (tmp_path / "vocab.json").write_text(
        str({t: i for i, t in enumerate(tokens)}).replace("'", '"')
    )
    head = load_encoder(str(tmp_path)).head_weights()
    assert head is not None
    assert torch.equal(head.weight, model.lm_head.weight)
    assert torch.equal(head.bias, model.lm_head.bias)
    assert head.vocabulary == ("", *tokens[1:4], " ", *"ABCDEFG")


def test_what_cannot_be_loaded_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pretrained(tmp_path, "hubert")
    encoder = load_encoder(str(tmp_path))
    weights = tmp_path / "model.safetensors"
    some = dict(list(load_file(weights).items())[3:])
    save_file(some, weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match="3 weights are missing"):
        load_encoder(str(tmp_path))
    weights.unlink()
    torch.save(encoder.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin and no \*.safetensors.*pickle"):
        load_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="model_type 'bert' has no encoder here"):
        load_encoder(str(tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        load_encoder(str(tmp_path / "nothing"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be read") as raised:
        load_encoder("nobody/nothing")
    assert "give the path of a folder" in raised.value.remedy
    monkeypatch.setattr("asr.model.encoders.pretrained.find_spec", lambda name: None)
    with pytest.raises(UserError, match="transformers is not installed") as raised:
        load_encoder(str(tmp_path))
    assert "asr-ema[pretrained]" in raised.value.remedy


def test_whisper_takes_no_more_than_thirty_seconds(tmp_path: Path) -> None:
    write_pretrained(tmp_path, "whisper")
    encoder = load_encoder(str(tmp_path)).eval()
    assert encoder.max_seconds == 30.0
    with pytest.raises(UserError, match=r"30.01 s: this Whisper takes at most 30 s"):
        hidden(encoder, [torch.zeros(480_160)])


@torch.no_grad()
def test_a_real_whisper_is_transformers_own() -> None:
    folder = Path(os.environ.get("ASR_TEST_MODELS", "/work/shared/models")) / "whisper-tiny.en"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here; ASR_TEST_MODELS names another place")
    model = transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    waveform = torch.from_numpy(speech(480_000))
    _, expected = own_output("whisper", model, extractor, waveform.numpy())
    encoder = load_encoder(str(folder)).eval()
    assert (hidden(encoder, [waveform])[0] - expected[0]).abs().max() < 1e-4
    some = [waveform[:100_000], waveform[:60_000]]
    together = hidden(encoder, some)
    for alone, found in zip(some, together, strict=True):
        assert (hidden(encoder, [alone])[0] - found).abs().max() < 1e-4


def test_adapters_alone_are_trained_and_stored(pretrained: Any, tmp_path: Path) -> None:
    _, folder, _, plain = pretrained
    encoder = load_encoder(str(folder))
    add_lora(encoder, LoraConfig(rank=2, alpha=4.0, dropout=0.1))
    waveform = torch.from_numpy(speech(9_000))
    with torch.no_grad():
        assert torch.allclose(
            hidden(encoder.eval(), [waveform])[0], hidden(plain.eval(), [waveform])[0], atol=1e-6
        )
    names = [name for name, _ in encoder.named_parameters()]
    assert len(names) >= 2 * 2 * encoder.layers
    assert all(".lora_" in name for name in names)
    assert all(1 <= encoder.depth(name) <= encoder.layers for name in names)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1)
    encoder.train().set_dropout(0.0, 0.0)
    for _ in range(2):  # with the first step the one half of them is still zero
        hidden(encoder, [waveform])[0].square().sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())
    changed = hidden(encoder.eval(), [waveform])[0]
    assert (changed - hidden(plain, [waveform])[0]).abs().max() > 1e-3

    encoder.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) == 0
    again = load_encoder(str(tmp_path), with_weights=False)
    add_lora(again, LoraConfig(rank=2, alpha=4.0, dropout=0.1))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(hidden(again.eval(), [waveform])[0], changed)
    more = load_encoder(str(folder))
    add_lora(more, LoraConfig(rank=2, alpha=4.0, targets="all"))
    assert len(list(more.parameters())) > len(names)


def test_adapters_want_the_weights_beside_which_they_were_trained(tmp_path: Path) -> None:
    base, checkpoint = tmp_path / "base", tmp_path / "checkpoint"
    checkpoint.mkdir()
    write_pretrained(base, "hubert")
    encoder = load_encoder(str(base))
    add_lora(encoder, LoraConfig(rank=2, alpha=4.0))
    encoder.save(checkpoint)
    weights = load_file(base / "model.safetensors")
    name = "encoder.layer_norm.weight"
    save_file({**weights, name: weights[name] + 1}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="has other weights"):
        load_encoder(str(checkpoint), with_weights=False)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"base.json: its adapters need the weights of .*no such"):
        load_encoder(str(checkpoint), with_weights=False)
