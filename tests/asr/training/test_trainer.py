"""Whole runs: kappa, signals, and updates that are skipped."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PLAIN, Train, asr_command, read_lines, without_wall_time
from training_helpers import LONG, SCHEDULE, updates

from asr.config.recipe import load_config
from asr.scaling.rule import in_force


def test_a_batch_at_kappa_four_is_the_union_of_four(train: Train) -> None:
    shorter = "trainer.total_hours=0.04"
    small = read_lines(train("small", *PLAIN, shorter) / "utterances.jsonl")
    large_run = train("large", *PLAIN, shorter, "batch.batch_seconds=60")
    large = read_lines(large_run / "utterances.jsonl")
    assert len(large) >= 2
    for number, batch in enumerate(large[: len(small) // 4]):
        four = small[4 * number : 4 * number + 4]
        for kind in ("labelled", "untranscribed"):
            assert batch[kind] == [name for part in four for name in part[kind]]
    update = next(line for line in read_lines(large_run / "metrics.jsonl") if "loss" in line)
    assert update["kappa"] == 4.0


def test_sigterm_saves_and_exits_cleanly(train: Train, recipe: Path, tmp_path: Path) -> None:
    whole = train("whole", "trainer.checkpoint_every_hours=10")
    run = tmp_path / "stopped"
    command = [*asr_command(), "train", str(recipe), f"output={run}"]
    command += ["trainer.checkpoint_every_hours=10"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 0:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert "stopped at" in output
    assert not (run / "complete.json").exists()
    subprocess.run(command, capture_output=True, check=True)
    assert without_wall_time(run) == without_wall_time(whole)
    assert (run / "complete.json").exists()


def test_a_skipped_update_moves_nothing_and_is_in_the_ledger(
    train: Train, recipe: Path, tmp_path: Path
) -> None:
    """The third update's gradient is made NaN; then the run is killed after it, and resumed."""
    run = tmp_path / "skipped"
    code = (
        "import sys, torch; from asr.distributed import engine; from asr.__main__ import main\n"
        "step, calls = engine.Engine.step, []\n"
        "def spoilt(self):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3: next(self.student.parameters()).grad.fill_(float('nan'))\n"
        "    if len(calls) == 5: sys.exit(9)\n"
        "    return step(self)\n"
        "engine.Engine.step = spoilt\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    checkpoints = "trainer.checkpoint_every_hours=0.008"  # after the second update
    arguments = ["train", str(recipe), f"output={run}", *PLAIN, checkpoints]
    spoilt = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert spoilt.returncode == 9, spoilt.stderr
    assert "update 3 skipped: its gradient is not finite" in spoilt.stderr
    lines = [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 2, 3]
    assert [line["batch"] for line in lines] == [1, 2, 3, 4]
    assert (lines[2]["gradient_norm"], lines[2]["teacher_momentum"]) == (None, None)
    assert lines[2]["hours"] == lines[1]["hours"]
    assert lines[3]["skipped_updates"] == 1
    train("skipped", *PLAIN, checkpoints)
    # The resumed run did not meet the fault: each batch stands in the ledger once.
    whole = read_lines(train("whole", *PLAIN) / "utterances.jsonl")
    assert read_lines(run / "utterances.jsonl") == whole


def test_updates_that_are_skipped_for_ever_stop_the_run(recipe: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from asr.distributed import engine; from asr.__main__ import main\n"
        "engine.Engine.step = lambda self: False\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["train", str(recipe), f"output={tmp_path / 'run'}", "trainer.non_finite_limit=3"]
    stopped = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 2
    assert "4 updates had a gradient that is not finite" in stopped.stderr


@pytest.mark.slow
def test_a_progressive_run_keeps_stream_and_half_life(train: Train, recipe: Path) -> None:
    run = train("progressive", LONG, SCHEDULE)
    lines = updates(run)
    kappas = [line["kappa"] for line in lines]
    assert [k for k, before in zip(kappas, [0, *kappas], strict=False) if k != before] == [1, 4, 2]
    plain = read_lines(train("plain", LONG) / "utterances.jsonl")
    for kind in ("labelled", "untranscribed"):
        together = [name for line in read_lines(run / "utterances.jsonl") for name in line[kind]]
        reference = [name for line in plain for name in line[kind]]
        shorter = min(len(together), len(reference))
        assert together[:shorter] == reference[:shorter]
    for line in lines:
        assert line["teacher_momentum"] == pytest.approx(0.5 ** (line["batch_seconds"] / 36))
    product = math.prod(line["teacher_momentum"] for line in lines)
    assert product == pytest.approx(0.5 ** (lines[-1]["hours"] / 0.01))
    config = load_config(recipe, [LONG, SCHEDULE])
    history = json.loads((run / "scaling.json").read_text())["history"]
    assert [card["kappa"] for card in history] == [1, 4, 2]
    for card in history:
        values = in_force(config, 15 * card["kappa"])
        assert card["in_force"]["learning_rate"] == values.learning_rate
        assert tuple(card["in_force"]["betas"]) == values.betas
        assert card["in_force"]["half_life_hours"] == 0.01
    starts = [next(u for u in lines if u["kappa"] == k)["hours"] for k in (1, 4, 2)]
    assert all(c["from_hours"] < hours for c, hours in zip(history, starts, strict=True))


def test_a_diverging_run_stops_and_names_utterances(recipe: Path, tmp_path: Path) -> None:
    command = [*asr_command(), "train", str(recipe), f"output={tmp_path / 'diverged'}"]
    command += ["optimizer.learning_rate=1e15", "optimizer.max_gradient_norm=0"]
    command += ["optimizer.warmup_hours=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "NaN or infinite loss" in done.stderr
    assert "u0-" in done.stderr, "no utterance is named"
    assert "Traceback" not in done.stderr
