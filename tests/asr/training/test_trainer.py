"""Whole runs, in processes of their own: ranks, accumulation, kappa, ZeRO, kill and resume."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import (
    PLAIN,
    Train,
    asr_command,
    final,
    kill_after_lines,
    losses,
    read_lines,
    relative_distance,
    same_weights,
    without_wall_time,
)


def test_ranks_and_accumulation_only_cut_the_same_stream(train: Train) -> None:
    one = train("one", *PLAIN)
    two = train("two", *PLAIN, ranks=2)
    accumulated = train("accumulated", *PLAIN, "batch.max_seconds_per_micro_batch=6")
    for other in (two, accumulated):
        assert losses(other) == pytest.approx(losses(one), rel=1e-4)
        assert read_lines(other / "utterances.jsonl") == read_lines(one / "utterances.jsonl")
        teachers = (final(run) / "teacher.safetensors" for run in (one, other))
        assert relative_distance(*teachers) < 1e-5
    labels = [line["untranscribed"] for line in read_lines(one / "utterances.jsonl")]
    assert any(labels), "the run never pseudo-labelled"


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


def test_bf16_trains_beside_fp32(train: Train) -> None:
    shorter = "trainer.total_hours=0.03"
    reference = train("reference", *PLAIN, shorter)
    run = train("bf16", *PLAIN, shorter, "trainer.zero_stage=1", "trainer.precision=bf16")
    assert losses(run) == pytest.approx(losses(reference), rel=0.05)


def test_a_killed_run_resumes_exactly(train: Train, recipe: Path, tmp_path: Path) -> None:
    whole = train("whole")
    killed = tmp_path / "killed"
    command = [*asr_command(), "train", str(recipe), f"output={killed}"]
    moments = random.Random(0)
    for _ in range(3):
        kill_after_lines(command, killed, moments.randint(6, 7))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    assert without_wall_time(killed) == without_wall_time(whole)
    assert read_lines(killed / "utterances.jsonl") == read_lines(whole / "utterances.jsonl")
    assert same_weights(final(killed) / "teacher.safetensors", final(whole) / "teacher.safetensors")
    assert same_weights(final(killed) / "student.safetensors", final(whole) / "student.safetensors")


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
    assert process.returncode == 0, errors
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
