"""An audit's cells are run once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import asr_command, read_lines
from latent_helpers import LATENT

from asr.__main__ import main


def test_two_cells_give_a_report(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "audit"
    command = [*asr_command(), "audit", str(recipe), "model.layers=1", "--output", str(output)]
    command += ["trainer.evaluation_every_hours=0.01", "--hours", "0.02", "--kappa", "1,2"]
    command += ["--rules", "full", "--seeds", "1", "--margin", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 cells of 0.02 h of audio, 0 finished before" in done.stdout
    assert len(json.loads((output / "audit.json").read_text())["cells"]) == 2
    assert "dev WER, teacher" in (output / "audit.md").read_text()


@pytest.mark.slow
def test_without_texts_it_is_judged_by_the_dev_loss_and_probes(
    recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    output = tmp_path / "audit"
    command = [*asr_command(), "audit", str(recipe), *LATENT, "--output", str(output)]
    command += ["trainer.evaluation_every_hours=0.01", "--hours", "0.02", "--kappa", "1,2"]
    command += ["--rules", "full", "--seeds", "2", "--margin", "50"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dev loss, teacher, at the end" in done.stdout
    assert "(50 % of kappa 1's, as stated)" in done.stdout
    assert "### effective rank, teacher (directions)" in done.stdout
    assert "equivalent at kappa 2" in done.stdout
    assert "linear probe" not in done.stdout
    for cell in output.glob("cells/*"):
        sets = ["--labelled", f"{corpus}/labelled.jsonl.gz", "--set", f"{corpus}/dev.jsonl.gz"]
        assert main(["probe", str(cell), *sets, "--updates", "20"]) == 0
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "4 finished before" in again.stdout
    assert "### CER of a linear probe, teacher (%)" in again.stdout


@pytest.mark.slow
def test_an_audit_runs_each_cell_once_and_reports(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "audit"
    command = [*asr_command(), "audit", str(recipe), "model.layers=1", "--output", str(output)]
    command += ["trainer.evaluation_every_hours=0.01", "--hours", "0.02", "--kappa", "1,2"]
    command += ["--rules", "full,none", "--burn-in-hours", "0.01", "--progressive", "2"]
    command += ["--seeds", "1", "--seeds-at", "full:2=2", "--margin", "5"]
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
    grown = read_lines(output / "cells/kappa2_progressive_seed1/metrics.jsonl")
    by_hours = {line["hours"]: line["kappa"] for line in grown if "loss" in line}
    assert {hours > 0.0155: kappa for hours, kappa in by_hours.items()} == {False: 1.0, True: 2.0}
    [wer] = [m for m in results["metrics"] if m["metric"]["name"] == "teacher_wer"]
    assert wer["margin"] == {"size": 5.0, "source": "as stated", "of_seeds": None}
    assert wer["reference_seeds"] == 2
    said = {(c["kappa"], c["rule"]): c["end"] for c in wer["comparisons"]}
    assert {setting: end["seeds"] for setting, end in said.items()} == {
        (2.0, "full"): 2,
        (2.0, "none"): 1,
        (2.0, "progressive"): 1,
    }
    assert said[2.0, "none"]["words"] == "cannot tell with 1 seed: 2 at least would be needed"
    assert (output / "audit.svg").read_text().startswith("<?xml")
    assert "dev WER, teacher" in (output / "audit.md").read_text()
    cells = {p: p.stat().st_mtime_ns for p in output.glob("cells/*/metrics.jsonl")}
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "6 finished before" in again.stdout
    assert cells == {p: p.stat().st_mtime_ns for p in output.glob("cells/*/metrics.jsonl")}
    # As of an audit before `--seeds-at`: the same cells, and another margin, need no new run.
    before = command[: command.index("--progressive")]
    other = [*before, "--seeds", "1", "--margin", "0.5"]
    smaller = subprocess.run(other, capture_output=True, text=True, timeout=60, check=False)
    assert "3 cells of 0.02 h of audio, 3 finished before" in smaller.stdout
    assert "Margin: ±0.5 points (as stated)" in smaller.stdout
    changed = [*command, "optimizer.learning_rate=0.5"]
    refused = subprocess.run(changed, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "other settings (optimizer), or by another version" in refused.stderr
    spoilt = output / "cells/kappa2_full_seed1/config.yaml"
    spoilt.write_bytes(spoilt.read_bytes() + b"\xff")
    damaged = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert damaged.returncode == 2
    assert f"{spoilt}: damaged" in damaged.stderr
    assert "Traceback" not in damaged.stderr
