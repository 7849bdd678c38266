"""LibriSpeech's recipes on a card: speed as a share of its peak, and memory beside what `asr plan` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from gpu_helpers import DEVICES, flops_of_a_second, peak_flops, run_asr

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.planning.estimates import memory_gb_per_rank, parameter_count, vocabulary_size

RECIPES = Path(__file__).parents[2] / "recipes" / "librispeech"
SHRUNK = ["model.width=32", "model.heads=2", "model.layers=2", "model.feed_forward_width=64"]
SHRUNK += ["batch.batch_seconds=60", "batch.batch_seconds_per_rank=null", "batch.group_seconds=15"]
SHRUNK += ["scaling.reference_batch_seconds=60", "batch.max_seconds_per_micro_batch=40"]
SHRUNK += ["trainer.precision=fp32", "trainer.zero_stage=0"]
"""For a CPU."""


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of LibriSpeech's lengths with texts of its rate, under the names of its sets: 40 minutes each."""
    folder = tmp_path_factory.mktemp("librispeech")
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
    return folder


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["100h_860h_70m", "100h_860h"])
def test_speed_and_memory_of_a_recipe(
    name: str, device: str, spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"corpus.directory={spoken}", "corpus.untranscribed=[train-clean-360]"]
    settings += ["corpus.dev=[]", "corpus.test=[]", f"output={tmp_path / 'run'}"]
    settings += ["tokenizer.characters=SPECH"] + (SHRUNK if device == "cpu" else [])
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
        print(f"{name}, {phase}, {measured['device']}: {flops / 1e12:.3g} TFLOP/s{share}")
        assert flops > 0
        assert peak is None or flops < peak
    planned = memory_gb_per_rank(config, size, 1, config.trainer.zero_stage)["total"]
    print(f"{said}\nplanned {planned:.2f} GB, measured {measured['peak_memory_gb']:.2f} GB")
    if device == "cuda":  # a CPU's figure is the process's
        # A micro-batch may be smaller than the plan's largest, and not larger.
        assert 0.5 * planned < measured["peak_memory_gb"] < 1.1 * planned
    plan = ["plan", str(recipe), *settings, "--bench", str(output), "--ranks", "1,8", "--json"]
    capsys.readouterr()
    assert main(plan) == 0
    alone, eight = json.loads(capsys.readouterr().out)
    assert alone["wall_hours"] > eight["wall_hours"]
