"""LibriSpeech's recipes on a card: speed as a share of its peak, idle time, and memory beside the plan's."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from gpu_helpers import (
    DEVICES,
    busy_share,
    flops_of_a_second,
    kernels,
    needs_card,
    peak_flops,
    run_asr,
)

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.distributed.process_group import join
from asr.planning.estimates import memory_gb_per_rank, parameter_count, vocabulary_size
from asr.training.trainer import Trainer

RECIPES = Path(__file__).parents[2] / "recipes" / "librispeech"
SHRUNK = ["model.width=32", "model.heads=2", "model.layers=2", "model.feed_forward_width=64"]
SHRUNK += ["batch.batch_seconds=60", "batch.batch_seconds_per_rank=null", "batch.group_seconds=15"]
SHRUNK += ["scaling.reference_batch_seconds=60", "batch.max_seconds_per_micro_batch=40"]
SHRUNK += ["trainer.precision=fp32", "trainer.zero_stage=0"]
"""For a CPU."""


def write_spoken(folder: Path) -> None:
    """Noise of LibriSpeech's lengths with texts of its rate, under the names of its sets: 40 minutes each."""
    random = np.random.default_rng(1)
    for name in ("train-clean-100", "train-clean-360"):
        source = folder / "audio" / name
        source.mkdir(parents=True)
        lines = []
        for number in range(190):
            seconds = float(random.choice([random.uniform(2, 10), random.uniform(11, 16.5)]))
            noise = 0.05 * random.standard_normal(round(16_000 * seconds))
            soundfile.write(source / f"{name}-{number}.wav", noise.astype(np.float32), 16_000)
            words = " ".join("SPEECH" for _ in range(round(2.1 * seconds)))
            lines.append(f"{name}-{number}\t{words}\n")
        if name == "train-clean-100":
            (source / "transcripts.tsv").write_text("".join(lines))
        out = folder / "out" / name
        assert main(["prepare", "folder", "--root", str(source), "--output", str(out)]) == 0
        manifest = "labelled" if name == "train-clean-100" else "untranscribed"
        (out / f"{manifest}.jsonl.gz").rename(folder / f"{name}.jsonl.gz")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("librispeech")
    write_spoken(folder)
    return folder


def settings_of(spoken: Path, folder: Path) -> list[str]:
    settings = [f"corpus.directory={spoken}", "corpus.untranscribed=[train-clean-360]"]
    settings += ["corpus.dev=[]", "corpus.test=[]", f"output={folder / 'run'}"]
    return [*settings, "tokenizer.characters=SPECH"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["100h_860h_70m", "100h_860h"])
def test_speed_and_memory_of_a_recipe(
    name: str, device: str, spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(spoken, tmp_path) + (SHRUNK if device == "cpu" else [])
    recipe, output = RECIPES / f"{name}.yaml", tmp_path / "bench.json"
    updates = "1" if device == "cpu" else "10"
    said = run_asr(
        "bench", recipe, *settings, "--updates", updates, "--output", output, device=device
    )
    config = load_config(recipe, settings)
    measured: dict[str, Any] = json.loads(output.read_text())
    size = vocabulary_size(config)
    assert size is not None
    parameters = parameter_count(config, size)
    peak = peak_flops()
    for phase, speed in measured["speeds"].items():
        flops = flops_of_a_second(config, parameters) * speed["throughput"]
        share = f", MFU {flops / peak:.1%}" if peak else ""
        with capsys.disabled():
            print(f"{name}, {phase}, {measured['device']}: {flops / 1e12:.3g} TFLOP/s{share}")
        assert flops > 0
        assert peak is None or flops < peak
    planned = memory_gb_per_rank(config, size, 1, config.trainer.zero_stage)["total"]
    with capsys.disabled():
        print(f"{said}\nplanned {planned:.2f} GB, measured {measured['peak_memory_gb']:.2f} GB")
    if device == "cuda":  # a CPU's figure is the process's
        # A micro-batch may be smaller than the plan's largest, and not larger.
        assert 0.5 * planned < measured["peak_memory_gb"] < 1.1 * planned
    plan = ["plan", str(recipe), *settings, "--bench", str(output), "--ranks", "1,8", "--json"]
    capsys.readouterr()
    assert main(plan) == 0
    alone, eight = json.loads(capsys.readouterr().out)
    assert alone["wall_hours"] > eight["wall_hours"]


@needs_card
@pytest.mark.parametrize("name", ["100h_860h_70m", "100h_860h"])
def test_what_the_card_waits_for_is_shown(name: str, spoken: Path, tmp_path: Path) -> None:
    """The share of some supervised updates in which it has nothing to do; a profiler slows the host, too."""
    settings = [*settings_of(spoken, tmp_path), "batch.batch_seconds=290"]
    settings += ["batch.batch_seconds_per_rank=null", "scaling.reference_batch_seconds=290"]
    config = load_config(RECIPES / f"{name}.yaml", settings)
    trainer = Trainer(config, join(config.trainer.matmul_precision))
    batches = trainer.data.batches(trainer.state.position, 0, 1)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    profiler = torch.profiler.profile(activities=activities)
    walls = []
    for number in range(25):
        # After ten cuDNN, cuBLAS and the allocator have settled; ten more are not watched.
        if number in (10, 20):
            torch.cuda.synchronize()
            walls.append(time.perf_counter())
            if number == 20:
                profiler.start()
        trainer.engine.set_learning_rate(1.0)
        trainer.train_step.accumulate(next(batches), number, trainer.state.clock.hours)
        assert trainer.engine.step()
    torch.cuda.synchronize()
    wall_seconds = time.perf_counter() - walls[1]
    profiler.stop()
    trace = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(trace))
    found = kernels(trace)
    assert found
    begin = min(start for start, _ in found)
    busy_seconds = busy_share(found, begin, begin + 1e6 * wall_seconds) * wall_seconds / 5
    share = busy_seconds * 10 / (walls[1] - walls[0])
    print(
        f"{name}, {torch.cuda.get_device_name()}: an update of 290 s is {100 * (walls[1] - walls[0]):.1f} ms, "
        f"{1e3 * busy_seconds:.1f} ms of it busy: idle {1 - share:.1%} ({len(found) / 5:.0f} launches)"
    )
    print(profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=14))
    assert 0.0 < share <= 1.05
