"""`asr audit`: cells that are run once, and distances in the spread of kappa = 1."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import asr_command, read_lines

from asr.cli import audit
from asr.errors import UserError
from asr.planning.audit.metrics import Cell, compare, verdict


def test_an_audit_runs_each_cell_once_and_reports(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "audit"
    command = [*asr_command(), "audit", str(recipe), "model.layers=1", "--output", str(output)]
    command += ["trainer.evaluation_every_hours=0.01", "--hours", "0.02", "--kappa", "1,2"]
    command += ["--seeds", "2", "--rules", "full,none", "--burn-in-hours", "0.01"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 burn-ins of 0.01 h of audio, 0 finished before" in first.stdout
    assert "6 cells of 0.02 h of audio, 0 finished before" in first.stdout
    results = json.loads((output / "audit.json").read_text())
    updates = read_lines(output / "cells/kappa2_full_seed2/metrics.jsonl")
    kappas = [line["kappa"] for line in updates if "loss" in line]
    assert kappas[0] == 1.0
    assert kappas[-1] == 2.0
    assert len(results["cells"]) == 6
    assert all(cell["curves"]["teacher_wer"] for cell in results["cells"])
    assert {(d["kappa"], d["rule"]) for d in results["distances"]} == {
        (1.0, "full"),
        (2.0, "full"),
        (2.0, "none"),
    }
    assert (output / "audit.svg").read_text().startswith("<?xml")
    assert "dev WER, teacher" in (output / "audit.md").read_text()
    cells = {p: p.stat().st_mtime_ns for p in output.glob("cells/*/metrics.jsonl")}
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "6 finished before" in again.stdout
    assert cells == {p: p.stat().st_mtime_ns for p in output.glob("cells/*/metrics.jsonl")}
    changed = [*command, "optimizer.learning_rate=0.5"]
    refused = subprocess.run(changed, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "other settings (optimizer)" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kappa", "1,16"], "largest kappa allowed is below 10"),
        (["--kappa", "1,0.5"], "no whole number of groups"),
        (["--kappa", "1,1"], "different positive numbers"),
        (["--rules", "all"], "one or several of"),
        (["--seeds", "0"], "at least 1"),
        (["--hours", "-1"], "above 0"),
        (["--hours", "1", "--burn-in-hours", "2"], "between 0 and 1"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(
    recipe: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        audit.main([str(recipe), "--output", str(tmp_path / "audit"), *options])
    assert not (tmp_path / "audit").exists()


def test_distances_are_in_units_of_the_seed_spread() -> None:
    random = np.random.default_rng(0)
    hours = [float(h) for h in range(1, 11)]

    def cell(offset: float) -> dict[str, list[tuple[float, float]]]:
        values = 50 + offset + 2.0 * random.standard_normal() * np.ones(10)
        return {"teacher_wer": list(zip(hours, values.tolist(), strict=True))}

    seeds = range(200)
    curves = {Cell(1.0, "full", s): cell(0.0) for s in seeds}
    curves |= {Cell(4.0, "full", s): cell(0.0) for s in seeds}
    curves |= {Cell(4.0, "none", s): cell(12.0) for s in seeds}
    found = {(d.kappa, d.rule): d for d in compare(curves, 10.0, 1.0)}
    assert found[1.0, "full"].curve_in_spreads == pytest.approx(1.0, rel=0.01)
    assert found[1.0, "full"].final_spread == pytest.approx(2.0, rel=0.2)
    assert found[4.0, "full"].curve_in_spreads == pytest.approx(1.0, rel=0.2)
    assert abs(found[4.0, "full"].final_in_spreads or 9) < 0.3
    assert found[4.0, "none"].final_in_spreads == pytest.approx(6.0, rel=0.2)


def test_verdicts() -> None:
    assert verdict(None).startswith("no spread")
    assert verdict(-0.9) == "within seed spread"
    assert verdict(1.9) == "within twice the seed spread"
    assert verdict(-3.04) == "3.0 seed spreads away"
