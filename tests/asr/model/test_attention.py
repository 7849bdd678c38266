"""Features, model, teacher and greedy decoding through their public interfaces."""

from __future__ import annotations

from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from asr.config.schema import FeatureConfig, ModelConfig, SpecAugmentConfig
from asr.decoding.greedy import greedy
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.model.acoustic_model import AcousticModel
from asr.model.ctc import is_feasible
from asr.model.dropout import Dropout
from asr.model.encoders.transformer import TransformerEncoder
from asr.model.features import LogMel
from asr.teacher.ema import WeightAverage
from asr.training.augmentation import spec_augment

SAMPLES = [4000, 16_000, 9001, 30_123]

VARIANTS = [
    {"norm": "pre", "positions": "rotary", "convolution_kernel": 15, "stride": 4},
    {"norm": "post", "positions": "sinusoidal", "convolution_kernel": 0, "stride": 3},
    {"norm": "pre", "positions": "none", "convolution_kernel": 7, "stride": 3},
]


def small_model(**options: object) -> AcousticModel:
    torch.manual_seed(0)
    shape = {"width": 32, "heads": 4, "layers": 3, "feed_forward_width": 64, "layer_drop": 0.0}
    config = ModelConfig.model_validate({**shape, **options})
    return AcousticModel(TransformerEncoder(80, config), 12)


def waveforms() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(samples, generator=generator) * 0.1 for samples in SAMPLES]


def padded(pieces: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(piece) for piece in pieces])
    return torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True), lengths


@pytest.mark.parametrize("options", VARIANTS)
def test_logits_do_not_depend_on_batch_mates(options: dict[str, object]) -> None:
    model, log_mel = small_model(**options).eval(), LogMel(FeatureConfig())
    with torch.no_grad():
        together, lengths = model(*log_mel(*padded(waveforms())))
        for index, piece in enumerate(waveforms()):
            alone, [length] = model(*log_mel(*padded([piece])))
            assert length == lengths[index]
            difference = (together[index, :length] - alone[0, :length]).abs().max()
            assert difference < 1e-5


@pytest.mark.parametrize("options", VARIANTS)
def test_a_limited_reach_hears_the_neighbourhood_alone(options: dict[str, object]) -> None:
    model, log_mel = small_model(**options).eval(), LogMel(FeatureConfig())
    reach, kernel = 4, int(str(options["convolution_kernel"]))
    hears = 3 * (reach + kernel // 2) + 2  # frames on each side, through three blocks
    with torch.no_grad():
        features, lengths = log_mel(*padded(waveforms()))
        before, frames = model(features, lengths, reach=reach)
        changed = features.clone()
        changed[:, 0] += 1.0
        after, _ = model(changed, lengths, reach=reach)
        unlimited, _ = model(features, lengths)
        wide, _ = model(features, lengths, reach=int(frames.max()) - 1)
        [alone], _ = model(*log_mel(*padded(waveforms()[2:3])), reach=reach)
    assert torch.isfinite(before).all()
    for index, count in enumerate(frames.tolist()):
        assert torch.equal(before[index, hears:count], after[index, hears:count])
        assert not torch.equal(before[index, :hears], after[index, :hears])
        assert (wide[index, :count] - unlimited[index, :count]).abs().max() < 1e-5
    assert (before[3] - unlimited[3]).abs().max() > 1e-4
    assert (before[2, : frames[2]] - alone[: frames[2]]).abs().max() < 1e-5


@pytest.mark.parametrize("options", VARIANTS)
def test_gradients_do_not_depend_on_batch_mates(options: dict[str, object]) -> None:
    model, log_mel = small_model(**options).eval(), LogMel(FeatureConfig())

    def gradient(pieces: list[torch.Tensor]) -> torch.Tensor:
        model.zero_grad()
        logits, lengths = model(*log_mel(*padded(pieces)))
        mask = torch.arange(logits.shape[1])[None] < lengths[:, None]
        (logits.square().sum(-1) * mask).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(waveforms())
    parts = sum(gradient([piece]) for piece in waveforms())
    assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_output_length_is_what_the_model_returns(stride: int) -> None:
    model = small_model(stride=stride).eval()
    for frames in range(1, 20):
        logits, [length] = model(torch.zeros(1, frames, 80), torch.tensor([frames]))
        assert logits.shape == (1, -(-frames // stride), 12)
        assert length == logits.shape[1]


def test_features_are_normalised_and_depend_on_the_utterance_alone() -> None:
    log_mel = LogMel(FeatureConfig())
    features, lengths = log_mel(*padded(waveforms()))
    for row, frames in zip(features, lengths, strict=True):
        assert row[:frames].mean(0).abs().max() < 1e-4
        assert (row[:frames].std(0, unbiased=False) - 1).abs().max() < 1e-2
        assert (row[frames:] == 0).all()
    short, [frames] = log_mel(torch.zeros(1, 100), torch.tensor([100]))
    assert frames == 0
    assert torch.isfinite(short).all()


def test_spec_augment_is_a_function_of_the_utterance_s_seed() -> None:
    features = torch.ones(3, 200, 80)
    lengths = torch.tensor([200, 150, 200])
    seeds = [(1, 1), (1, 2), (1, 3)]
    policy = SpecAugmentConfig()
    masked = spec_augment(features, lengths, policy, seeds)
    assert (features == 1).all(), "the input was changed"
    assert 0.02 < (masked == 0).float().mean() < 0.95
    again = spec_augment(features[[2, 0]], lengths[[2, 0]], policy, [seeds[2], seeds[0]])
    assert torch.equal(again, masked[[2, 0]])
    off = SpecAugmentConfig(frequency_masks=0, time_masks=0)
    assert torch.equal(spec_augment(features, lengths, off, seeds), features)


def test_a_dropped_layer_is_skipped_whole() -> None:
    model = small_model().eval()
    inputs = torch.randn(2, 50, 80), torch.tensor([50, 30])
    all_kept, _ = model(*inputs, [True, True, True])
    without, _ = model(*inputs, [True, False, True])
    assert torch.equal(all_kept, model(*inputs)[0])
    del model.encoder.blocks[1]
    assert torch.equal(without, model(*inputs)[0])


def test_dropout_changes_in_the_blocks_and_not_in_the_front_end() -> None:
    model = small_model(dropout=0.3)
    model.encoder.set_dropout(0.1, 0.05)
    assert model.encoder.front_end.dropout.p == 0.3
    assert model.encoder.layer_drop == 0.05
    rates = {m.p for m in model.encoder.blocks.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.1}


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99999, 1.0])
def test_the_teacher_is_the_average_and_nothing_else(momentum: float) -> None:
    student = small_model()
    optimizer = torch.optim.AdamW(student.parameters())
    engine = SimpleNamespace(optimizer=optimizer, zero_optimization_stage=lambda: 0)
    shards = Shards(dict(student.named_weights()), engine, ranks=1, rank=0)
    teacher = WeightAverage(small_model(), shards, Ranks(0, 1, torch.device("cpu")))
    before = {name: weight.clone() for name, weight in student.named_weights()}
    assert teacher.distance() == 0.0
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += torch.randn_like(parameter)
    teacher.update(momentum)
    for name, new in teacher.model().named_weights():
        source = dict(student.named_weights())[name].double()
        expected = momentum * before[name].double() + (1 - momentum) * source
        assert torch.allclose(new.double(), expected, atol=1e-6)
        assert new.dtype is torch.float32
        assert not new.requires_grad
    assert not teacher.model().training


def slow_greedy(logits: np.ndarray, frames: int) -> list[int]:
    return [token for token, _ in groupby(logits[:frames].argmax(-1)) if token]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_greedy_merges_then_drops_blanks(seed: int, frames: int) -> None:
    logits = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(seed))
    first, second = greedy(logits, torch.tensor([frames, 20]))
    assert first.tokens == slow_greedy(logits[0].numpy(), frames)
    assert second.tokens == slow_greedy(logits[1].numpy(), 20)
    best = logits[1].softmax(-1).max(-1).values
    assert second.confidence == pytest.approx(float(best.mean()), abs=1e-6)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(1, 12))
def test_feasibility_is_where_torch_s_loss_is_finite(target: list[int], frames: int) -> None:
    log_probs = torch.zeros(frames, 1, 4).log_softmax(-1)
    loss = functional.ctc_loss(
        log_probs, torch.tensor([target]), torch.tensor([frames]), torch.tensor([len(target)])
    )
    assert bool(torch.isfinite(loss)) == is_feasible(target, frames)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_expectation(rate: float) -> None:
    torch.manual_seed(0)
    dropout = Dropout(rate).train()
    dropped = dropout(torch.ones(1000, 999))
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.01)
    assert torch.equal(dropout.eval()(torch.ones(5)), torch.ones(5))


@pytest.mark.parametrize("positions", ["sinusoidal", "none", "rotary"])
def test_the_key_bias_learns_only_where_it_is_felt(positions: str) -> None:
    config = ModelConfig(
        width=32, heads=2, layers=1, feed_forward_width=64, positions=positions, dropout=0.0
    )
    torch.manual_seed(0)
    model = AcousticModel(TransformerEncoder(80, config), 12)
    bias = model.encoder.blocks[0].attention.query_key_value.bias
    logits, _ = model(torch.randn(2, 60, 80), torch.tensor([60, 40]))
    logits.square().sum().backward()
    query, key, value = bias.grad.chunk(3)
    assert query.any()
    assert value.any()
    assert bool(key.any()) == (positions == "rotary")


def test_a_fixed_key_bias_is_not_felt() -> None:
    config = ModelConfig(width=32, heads=2, layers=2, feed_forward_width=64, dropout=0.0)
    model = AcousticModel(TransformerEncoder(80, config), 12).eval()
    features, lengths = torch.randn(2, 60, 80), torch.tensor([60, 40])
    before, _ = model(features, lengths)
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.attention.query_key_value.bias[32:64] += 1.0
    after, _ = model(features, lengths)
    assert (before - after).abs().max() < 1e-5
