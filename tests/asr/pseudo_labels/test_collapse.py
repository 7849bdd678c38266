"""A teacher that is made to output blanks, one token for ever, or nothing finite: noticed, and survived."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FLUENT, PLAIN, final, read_lines

from asr.utils.files import read_json

_SPOILT_UPDATE = 25
_SPOIL = (
    "import sys; from asr.__main__ import main\n"
    "from asr.distributed.engine import Engine; from asr.teacher.ema import WeightAverage\n"
    "whom, token = sys.argv[1], int(sys.argv[2])\n"
    "calls, offset = [], 100.0 if token >= 0 else float('nan')\n"
    "def teacher(self, momentum, update=WeightAverage.update):\n"
    "    update(self, momentum)\n"
    "    calls.append(1)\n"
    f"    if len(calls) == {_SPOILT_UPDATE}:\n"
    "        weights = self.weights()\n"
    "        weights['head.bias'][token] += offset\n"
    "        self.load(weights)\n"
    "def student(self, step=Engine.step):\n"
    "    done = step(self)\n"
    "    calls.append(1)\n"
    f"    if len(calls) == {_SPOILT_UPDATE}:\n"
    "        self.student.head.bias.data[token] += offset\n"
    "    return done\n"
    "if whom == 'teacher': WeightAverage.update = teacher\n"
    "else: Engine.step = student\n"
    "sys.exit(main(sys.argv[3:]))"
)
BLANK, SOME_TOKEN, NAN = 0, 3, -1


def run_with(
    recipe: Path, fluent: Path, run: Path, whom: str, token: int, *settings: str
) -> tuple[Path, str]:
    """A run whose teacher is spoilt, and what it said."""
    arguments = [
        *("train", str(recipe), f"output={run}", *PLAIN, *FLUENT, f"fork_from={final(fluent)}"),
        *("pseudo_label.start_hours=0.12", "trainer.total_hours=0.24"),
        *("trainer.evaluation_every_hours=0.24", "trainer.checkpoint_every_hours=0.02"),
        *settings,
    ]
    done = subprocess.run(
        [sys.executable, "-c", _SPOIL, whom, str(token), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return run, (run / "train.log").read_text(encoding="utf-8")


def final_wer(run: Path, model: str) -> float:
    lines = [r for r in read_lines(run / "metrics.jsonl") if r.get("model") == model]
    return float(lines[-1]["wer"])


def updates_until_the_alarm(run: Path, fluent: Path, said: str) -> int:
    """Since the spoilt update."""
    hours = next(float(line.split()[0]) for line in said.splitlines() if "unhealthy" in line)
    lines = [r for r in read_lines(run / "metrics.jsonl") if "loss" in r]
    nearest = min(lines, key=lambda line: abs(line["hours"] - hours))
    forked = read_json(final(fluent) / "state.json")["batches_drawn"]
    return int(nearest["batch"]) - forked - _SPOILT_UPDATE


CACHE = (
    "pseudo_label.schedule=cache",
    "pseudo_label.cache.capacity_utterances=12",
    "pseudo_label.cache.replacement_probability=0.3",
)
ROUNDS = ("pseudo_label.schedule=rounds", "pseudo_label.rounds.every_hours=0.01")
SLIMIPL = ("pseudo_label.teacher=student", *CACHE)
SLOW_AVERAGE = (*SLIMIPL, "teacher.half_life_hours=0.04")
SELDOM = (*CACHE, "pseudo_label.cache.replacement_probability=0.1", "teacher.half_life_hours=0.04")
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("action", "whom", "token", "method"),
    [
        ("pause", "teacher", SOME_TOKEN, ()),
        pytest.param("pause", "teacher", NAN, (), marks=slow),
        pytest.param("pause", "teacher", SOME_TOKEN, ROUNDS, marks=slow),
        pytest.param("pause", "teacher", BLANK, CACHE, marks=slow),
        ("rollback", "teacher", BLANK, ()),
        pytest.param("rollback", "teacher", SOME_TOKEN, ROUNDS, marks=slow),
        pytest.param("rollback", "teacher", SOME_TOKEN, CACHE, marks=slow),
        pytest.param("rollback", "teacher", SOME_TOKEN, ("trainer.zero_stage=2",), marks=slow),
        ("rollback", "student", SOME_TOKEN, SLIMIPL),
        pytest.param("rollback", "student", BLANK, SLIMIPL, marks=slow),
        pytest.param("rollback", "student", SOME_TOKEN, SLOW_AVERAGE, marks=slow),
        pytest.param("rollback", "student", NAN, SLOW_AVERAGE, marks=slow),
        pytest.param("pause", "teacher", SOME_TOKEN, SELDOM, marks=slow),
    ],
)
def test_a_collapse_is_noticed_and_survived(
    action: str,
    whom: str,
    token: int,
    method: tuple[str, ...],
    recipe: Path,
    fluent: Path,
    tmp_path: Path,
) -> None:
    settings = [
        f"pseudo_label.health.action={action}",
        "pseudo_label.health.snapshot_hours=0.01",
    ]
    run, said = run_with(recipe, fluent, tmp_path / "spoilt", whom, token, *settings, *method)
    assert 0 <= updates_until_the_alarm(run, fluent, said) <= 50
    assert ("put back" in said) == (action == "rollback")
    if method is SELDOM:  # and so labels do not prove it before the end
        assert "begins anew" in said
    else:
        assert ("healthy again" in said) == (action == "pause")
    # As without the collapse: `fluent` reads the tones without an error, or nearly so.
    assert final_wer(run, "teacher") < 10
    assert final_wer(run, "student") < 10


def test_without_a_remedy_the_collapse_spreads(recipe: Path, fluent: Path, tmp_path: Path) -> None:
    warn = "pseudo_label.health.action=warn"
    run, said = run_with(recipe, fluent, tmp_path / "warned", "teacher", SOME_TOKEN, warn)
    assert "unhealthy" in said
    assert final_wer(run, "student") > 50
