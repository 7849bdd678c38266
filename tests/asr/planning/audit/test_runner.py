"""An audit's cells are run once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from conftest import asr_command, read_lines


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
