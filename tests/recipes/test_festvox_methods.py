"""Real speech: each method of recipes/festvox_ru/methods is killed twice and resumes exactly.

On a burn-in that `bash recipes/festvox_ru/methods.sh --seeds 1` has left; some 20 minutes.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from conftest import (
    asr_command,
    final,
    kill_after_lines,
    read_lines,
    same_weights,
    without_wall_time,
)

from asr.pseudo_labels.ledger import read_ledger

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes/festvox_ru/methods"
BURN_IN = ROOT / "exp/festvox_ru_methods/seed1/burn_in"
SETTINGS = {
    "from_the_start": ["trainer.total_hours=0.4"],
    "ipl": ["pseudo_label.rounds.every_hours=0.1"],
    "topipl": ["pseudo_label.rounds.every_hours=0.1"],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BURN_IN / "complete.json").is_file(), reason=f"no {BURN_IN}"),
]


@pytest.mark.parametrize("method", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_killed_twice_it_ends_as_if_it_had_not_been(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    settings = ["trainer.checkpoint_every_hours=0.05", "trainer.evaluation_every_hours=0.1"]
    if method != "from_the_start":
        settings += [f"fork_from={final(BURN_IN)}", "trainer.total_hours=16.3"]
    settings += SETTINGS.get(method, [])
    command = [*asr_command(), "train", str(RECIPES / f"{method}.yaml"), "seed=1", *settings]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, f"output={whole}"], check=True, capture_output=True)
    of_parent = 0 if method == "from_the_start" else len(read_lines(BURN_IN / "metrics.jsonl"))
    updates = len(read_lines(whole / "metrics.jsonl")) - of_parent
    for share in sorted(random.Random(method).uniform(0.1, 0.45) for _ in range(2)):
        lines = round(share * updates)
        first = not killed.exists()
        kill_after_lines([*command, f"output={killed}"], killed, lines + of_parent * first)
        assert not (killed / "complete.json").exists()
    subprocess.run([*command, f"output={killed}"], check=True, capture_output=True)
    assert without_wall_time(killed) == without_wall_time(whole)
    for table in ("labels", "uses"):
        assert read_ledger(killed, table).equals(read_ledger(whole, table))
    assert len(read_ledger(killed, "labels"))
    for model in ("student", "teacher"):
        assert same_weights(*(final(r) / f"{model}.safetensors" for r in (killed, whole)))
