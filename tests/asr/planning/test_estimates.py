"""Sizes against the real model, and wall time by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recipe_paths import FESTVOX, LIBRISPEECH

from asr.config.recipe import load_config, parse_config
from asr.config.schema import Config
from asr.data.batching import split_into_micro_batches
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind
from asr.model.acoustic_model import make_model
from asr.planning.estimates import (
    Network,
    activation_bytes,
    memory_gb_per_rank,
    parameter_count,
    wall_hours,
)
from asr.planning.plan import full_row

VARIANTS = [
    {"norm": norm, "positions": positions, "convolution_kernel": kernel, "width": width}
    for norm in ("pre", "post")
    for positions in ("rotary", "sinusoidal")
    for kernel in (0, 15)
    for width in (64, 96)
]


def small(**model: object) -> Config:
    tree = {
        "heads": 2,
        "layers": 3,
        "feed_forward_width": 200,
        "stride": 4,
        "dropout": 0.1,
        **model,
    }
    return parse_config({"model": tree, "batch": {"batch_seconds": 100}}, "test")


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_those_of_the_model(variant: dict[str, object]) -> None:
    config = small(**variant)
    model = make_model(config, 33)
    assert parameter_count(config, 33) == sum(p.numel() for p in model.parameters())


def test_the_librispeech_network_has_its_parameters() -> None:
    config = load_config(LIBRISPEECH)
    with torch.device("meta"):
        model = make_model(config, 29)
    assert parameter_count(config, 29) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS[::3])
def test_activations_are_those_that_autograd_keeps(variant: dict[str, object]) -> None:
    config = small(**variant)
    model = make_model(config, 33).train()
    seconds = config.batch.max_seconds_per_micro_batch
    frames = int(seconds * 100 / 20)  # 20 utterances
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits, _ = model(torch.randn(20, frames, 80), torch.full((20,), frames))
        loss = logits.float().log_softmax(-1).sum()
    assert loss.requires_grad
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert activation_bytes(config, 33) == pytest.approx(measured, rel=0.15)


def test_zero_shards_what_it_says() -> None:
    config = small()
    count = parameter_count(config, 33) / 1e9
    for stage, sharded in ((0, 0), (1, 4), (2, 5), (3, 6)):
        parts = memory_gb_per_rank(config, 33, 8, stage)
        state = parts["total"] - parts["activations"] - parts["labelling_copy"]
        # fp32: parameters, gradients, two moments; and under ZeRO masters and average.
        whole = 4 if stage == 0 else 6
        assert state == pytest.approx(4 * count * (whole - sharded + sharded / 8))


def test_wall_clock_is_computation_plus_communication() -> None:
    config = load_config(LIBRISPEECH, ["trainer.zero_stage=1"])
    row = full_row(config, 8)
    alone = wall_hours(config, 29, row, 300.0, Network(1e12, 0.0))
    assert alone == pytest.approx(128888 / (8 * 300))
    slower = wall_hours(config, 29, row, 300.0, Network(10.0, 0.0))
    count = row["parameters"]
    # Gradients, of which stage 1 sends around the whole sum; bf16 weights; the labelling copy.
    sent = 7 / 8 * count * (2 * 4 + 2 + 4)
    assert slower - alone == pytest.approx(row["total_steps"] * sent / 10e9 / 3600, rel=1e-6)
    # A teacher that is refreshed every tenth step only, and messages of 1 ms.
    seldom = load_config(
        LIBRISPEECH, ["trainer.zero_stage=1", "teacher.update_interval_seconds=23200"]
    )
    row = full_row(seldom, 8)
    assert row["teacher_update_steps"] == 10
    found = wall_hours(seldom, 29, row, 300.0, Network(10.0, 1000.0)) - alone
    per_step = 7 / 8 * count * (2 * 4 + 2 + 4 / 10) / 10e9 + 1e-3 * 14 * (1 + 1 + 0.1)
    assert found == pytest.approx(row["total_steps"] * per_step / 3600, rel=1e-6)


@pytest.mark.parametrize(("batch_seconds", "ranks"), [(30, 1), (240, 1), (240, 4), (60, 2)])
def test_micro_batches_are_those_that_a_batch_is_dealt_into(batch_seconds: int, ranks: int) -> None:
    settings = [f"batch.batch_seconds={batch_seconds}", "pseudo_label.start_hours=0"]
    config = load_config(FESTVOX, settings)
    random = np.random.default_rng(0)
    corpora = [
        GroupedCorpus(kind, random.uniform(3, 17, 300), config.group_seconds, 1, (0.9, 1.0, 1.1))
        for kind in Kind
    ]
    stream = AudioStream(*corpora, (1, 1), 0.0, 1)
    position, slots = Position(), []
    for _ in range(40):
        batch = stream.next_batch(position, config.groups_per_batch(batch_seconds))
        limit = config.batch.max_seconds_per_micro_batch
        slots.append(len(split_into_micro_batches(batch.segments, ranks, limit)))
        position = batch.after
    planned = full_row(config, ranks)["micro_batches_per_rank"]
    assert abs(planned - float(np.mean(slots))) <= 1.0
