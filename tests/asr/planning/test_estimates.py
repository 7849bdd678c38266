"""`asr plan`: sizes against the real model, derived values against hand formulas, notes, noise scale."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.cli import plan
from asr.config.recipe import load_config, parse_config
from asr.config.schema import Config
from asr.data.batching import split_into_micro_batches
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind
from asr.errors import UserError
from asr.model.acoustic_model import make_model
from asr.planning.estimates import (
    Network,
    activation_bytes,
    memory_gb_per_rank,
    parameter_count,
    wall_hours,
)
from asr.planning.plan import describe_noise_scale, full_row

RECIPES = Path(__file__).parents[3] / "recipes"
LIBRISPEECH = RECIPES / "librispeech/100h_860h.yaml"
FESTVOX = RECIPES / "festvox_ru/pseudo_labelled.yaml"
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


@pytest.mark.parametrize("ranks", [8, 64, 512])
def test_librispeech_rows_against_hand_formulas(ranks: int) -> None:
    row = full_row(load_config(LIBRISPEECH, ["scaling.betas=half_life"]), ranks)
    kappa = ranks / 8
    assert row["global_batch_seconds"] == 290 * ranks
    assert row["kappa"] == kappa
    assert row["learning_rate"] == pytest.approx(1e-3 * math.sqrt(kappa))
    assert row["betas"] == pytest.approx([0.9**kappa, 0.999**kappa])
    assert row["eps"] == pytest.approx(1e-8 / math.sqrt(kappa))
    assert row["teacher_momentum"] == pytest.approx(0.5 ** (290 * ranks / 3600 / 4467))
    assert row["total_steps"] == math.ceil(128888 * 3600 / (290 * ranks))
    assert row["half_lives_in_run"] == pytest.approx(128888 / 4467)
    assert row["micro_batches_per_rank"] == 2  # one of each kind


def test_a_rank_count_without_a_solution_does_not_hide_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match=r"512 ranks.*largest kappa allowed is below 10"):
        plan.main([str(LIBRISPEECH), "--ranks", "8,512"])
    shown = capsys.readouterr().out
    assert "scaling card: kappa 1," in shown
    assert "zero_3" in shown


def test_notes_say_where_the_rule_ends() -> None:
    options = ["teacher.update_interval_seconds=290", "trainer.total_hours=4000"]
    found = " ".join(full_row(load_config(LIBRISPEECH, options), 64)["notes"])
    assert "Adam averages over less than two steps" in found
    assert "never forgets its start" in found
    assert "updated every step" in found
    assert not full_row(load_config(LIBRISPEECH), 8)["notes"]


def test_wall_clock_is_computation_plus_communication() -> None:
    config = load_config(LIBRISPEECH, ["trainer.zero_stage=1"])
    row = full_row(config, 8)
    alone = wall_hours(config, 29, row, 300.0, Network(1e12, 0.0))
    assert alone == pytest.approx(128888 / (8 * 300))
    slower = wall_hours(config, 29, row, 300.0, Network(10.0, 0.0))
    count = row["parameters"]
    sent = 7 / 8 * count * (4 + 2 + 4)  # gradients, bf16 weights, the labelling copy
    assert slower - alone == pytest.approx(row["total_steps"] * sent / 10e9 / 3600, rel=1e-6)
    # A teacher that is refreshed every tenth step only, and messages of 1 ms.
    seldom = load_config(
        LIBRISPEECH, ["trainer.zero_stage=1", "teacher.update_interval_seconds=23200"]
    )
    row = full_row(seldom, 8)
    assert row["teacher_update_steps"] == 10
    found = wall_hours(seldom, 29, row, 300.0, Network(10.0, 1000.0)) - alone
    per_step = 7 / 8 * count * (4 + 2 + 4 / 10) / 10e9 + 1e-3 * 14 * (1 + 1 + 0.1)
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


def test_a_batch_schedule_is_planned_as_a_whole() -> None:
    legal = load_config(FESTVOX, ["batch.batch_seconds=[[0,30],[10,240]]"])
    row = full_row(legal, 1)
    assert [(p["from_hours"], p["kappa"]) for p in row["batch_schedule"]] == [(0, 1), (10, 8)]
    assert row["batch_schedule"][1]["learning_rate"] == pytest.approx(3e-3 * math.sqrt(8))
    assert any("less than two steps" in note for note in row["notes"])
    illegal = load_config(FESTVOX, ["batch.batch_seconds=[[0,30],[10,600]]"])
    with pytest.raises(UserError, match="kappa 20"):
        full_row(illegal, 1)
    assert "batch_schedule" not in full_row(load_config(FESTVOX), 1)


def test_a_batch_off_the_grid_of_groups_is_said() -> None:
    [note] = full_row(load_config(FESTVOX, ["batch.batch_seconds=44"]), 1)["notes"]
    assert note.startswith("a batch of 44 s becomes 30 s")


def test_every_impossible_rank_count_is_named() -> None:
    with pytest.raises(UserError, match=r"128 ranks: .*; 256 ranks: .*; 512 ranks: "):
        plan.main([str(LIBRISPEECH), "--ranks", "128,256,512", "--json"])


def test_the_lifted_beta_limit_has_its_note() -> None:
    [note] = full_row(load_config(LIBRISPEECH, ["scaling.betas=half_life"]), 512)["notes"]
    assert "less than two steps" in note


def test_the_noise_scale_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no metrics"):
        describe_noise_scale(tmp_path, 30.0)
    line = {"step": 1, "hours": 2.0, "loss": 1.0, "gradient_noise_scale_seconds": None}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert "two micro-batches" in describe_noise_scale(tmp_path, 30.0)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**line, "micro_batches": 4}) + "\n")
    assert "larger batches still pay" in describe_noise_scale(tmp_path, 30.0)
    line["gradient_noise_scale_seconds"] = 240.0
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert "240 s of audio" in describe_noise_scale(tmp_path, 30.0)
    assert "kappa 8" in describe_noise_scale(tmp_path, 30.0)


def test_a_plan_needs_no_torch() -> None:
    code = (
        "import sys; from asr.__main__ import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "plan", str(LIBRISPEECH), "--ranks", "8,64"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_json_holds_the_noise_scale_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"step": 1, "hours": 2.0, "loss": 1.0, "gradient_noise_scale_seconds": 240.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert plan.main([str(LIBRISPEECH), "--ranks", "8", "--json", "--run", str(tmp_path)]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["gradient_noise_scale_seconds"] == 240.0
