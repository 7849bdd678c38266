"""`asr bench`: real updates, timed; and the plan that is made from them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import asr_command

from asr.cli import plan
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.planning.benchmark import Bench


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_bench_feeds_a_plan(
    recipe: Path, tmp_path: Path, ranks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    output, run = tmp_path / "bench.json", tmp_path / "run"
    command = [*asr_command(ranks), "bench", str(recipe), f"output={run}", "--updates", "2"]
    command += ["--output", str(output)]
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


def test_the_phases_are_mixed_by_their_hours(recipe: Path) -> None:
    bench = Bench({"supervised": 100.0, "pseudo_labelled": 50.0}, None)
    settings = ["trainer.total_hours=10", "pseudo_label.start_hours=4"]
    assert bench.throughput(load_config(recipe, settings)) == pytest.approx(10 / (0.04 + 0.12))
    supervised = load_config(recipe, [settings[0], "pseudo_label.start_hours=null"])
    assert bench.throughput(supervised) == pytest.approx(100)


NO_SPEED = '{"network": null, "speeds": {"supervised": {"compute_throughput": 0}}}'


@pytest.mark.parametrize("content", ["", "[]", "{}", NO_SPEED])
def test_what_is_no_bench_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(UserError, match="not a result of `asr bench`"):
        Bench.read(path)
