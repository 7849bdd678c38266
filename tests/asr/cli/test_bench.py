"""`asr bench`: real updates, timed; and the plan that is made from them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import asr_command

from asr.cli import plan
from asr.config.recipe import load_config
from asr.planning.benchmark import Bench


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_bench_feeds_a_plan(
    recipe: Path, tmp_path: Path, ranks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    output, run = tmp_path / "bench.json", tmp_path / "run"
    command = [*asr_command(ranks), "bench", str(recipe), f"output={run}", "--updates", "2"]
    command += ["--output", str(output), "teacher.keep_for_average=true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "x real time a rank" in done.stdout
    assert not run.exists()
    measured = json.loads(output.read_text())
    assert measured["ranks"] == ranks
    for phase in ("supervised", "pseudo_labelled"):
        speed = measured["speeds"][phase]
        # 15 s batches, cut at utterances
        seconds = speed["throughput"] * ranks * speed["update_seconds"]
        assert seconds == pytest.approx(15, rel=0.3)
        assert 0 <= speed["data_wait_share"] < 1
        assert speed["compute_throughput"] >= speed["throughput"] * 0.999
    assert (measured["network"] is not None) == (ranks > 1)
    arguments = [str(recipe), "--bench", str(output), "--ranks", "1,2", "--json"]
    assert plan.main(arguments) == 0
    rows = json.loads(capsys.readouterr().out)
    throughput = Bench.read(output).throughput(load_config(recipe))
    assert rows[0]["wall_hours"] == pytest.approx(0.05 / throughput, rel=1e-6)  # no communication
    assert rows[1]["wall_hours"] > 0.5 * rows[0]["wall_hours"]
