"""A teacher that is made to output blanks, one token for ever, or nothing finite: noticed, and survived."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FLUENT, PLAIN, final, read_lines

from asr.files import read_json

_SPOIL = (
    "import sys; from asr.__main__ import main; from asr.teacher import Teacher\n"
    "update, calls, at, token = Teacher.update, [], int(sys.argv[1]), int(sys.argv[2])\n"
    "def spoilt(self, momentum):\n"
    "    update(self, momentum)\n"
    "    calls.append(1)\n"
    "    if len(calls) == at:\n"
    "        weights = self.weights()\n"
    "        weights['head.bias'][token] += (100 if token >= 0 else float('nan'))\n"
    "        self.load(weights)\n"
    "Teacher.update = spoilt\n"
    "sys.exit(main(sys.argv[3:]))"
)
BLANK, SOME_TOKEN, NAN = 0, 3, -1
_SPOILT_UPDATE = 25


def run_with(recipe: Path, fluent: Path, run: Path, token: int, *settings: str) -> tuple[Path, str]:
    """A run whose teacher is spoilt, and what it said."""
    arguments = [
        *("train", str(recipe), f"output={run}", *PLAIN, *FLUENT, f"fork_from={final(fluent)}"),
        *("pseudo_label.start_hours=0.12", "trainer.total_hours=0.24"),
        *("trainer.evaluation_every_hours=0.24", "trainer.checkpoint_every_hours=0.02"),
        *settings,
    ]
    done = subprocess.run(
        [sys.executable, "-c", _SPOIL, str(_SPOILT_UPDATE), str(token), *arguments],
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


@pytest.mark.parametrize(
    ("action", "token"), [("pause", SOME_TOKEN), ("pause", NAN), ("rollback", BLANK)]
)
def test_a_collapse_is_noticed_and_survived(
    action: str, token: int, recipe: Path, fluent: Path, tmp_path: Path
) -> None:
    settings = [
        f"pseudo_label.health.action={action}",
        "pseudo_label.health.snapshot_hours=0.01",
    ]
    run, said = run_with(recipe, fluent, tmp_path / "spoilt", token, *settings)
    assert 0 <= updates_until_the_alarm(run, fluent, said) <= 50
    assert ("put back" in said) == (action == "rollback")
    assert ("healthy again" in said) == (action == "pause")
    # As without the collapse: `fluent` reads the tones without an error, its student nearly so.
    assert final_wer(run, "teacher") == 0.0
    assert final_wer(run, "student") < 10


def test_without_a_remedy_the_collapse_spreads(recipe: Path, fluent: Path, tmp_path: Path) -> None:
    run, said = run_with(
        recipe, fluent, tmp_path / "warned", SOME_TOKEN, "pseudo_label.health.action=warn"
    )
    assert "unhealthy" in said
    assert final_wer(run, "student") > 50
