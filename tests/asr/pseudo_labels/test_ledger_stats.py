"""What a ledger says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ledger_helpers import row

from asr.__main__ import main
from asr.pseudo_labels.ledger import LabelLedger


def test_stats(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "stats", str(run), "--every", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["from_hours"], r["labels"]) for r in found["by_hours"]] == [(0, 2), (2, 4)]
    assert found["all"]["dropped"] == {"empty": 3}
    assert found["all"]["cer"] == pytest.approx(100 * (3 + 12) / 24)
    assert found["all"]["entropy"] == pytest.approx(0.2)
    uses = found["uses"]
    assert (uses["uses"], uses["trained_on"], uses["dropped"]) == (3, 2, {"infeasible": 1})
    assert uses["uses_per_label"] == 2.0, "of the one that was replaced"
    assert uses["age_hours"] == pytest.approx(1.5)
    assert main(["labels", "stats", str(run)]) == 0
    assert "2.0 for a label that was replaced" in capsys.readouterr().out


def test_diff(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "diff", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["utterances"], found["changed"], found["better"], found["worse"]) == (2, 1, 1, 0)
    assert found["most_changed"] == [
        {
            "utterance": "a",
            "before": "ab",
            "after": "ababab",
            "change": 2.0,
            "character_errors": [2.0, 0.0],
        }
    ]
    assert main(["labels", "diff", str(run), "--from", "2", "--to", "2.5"]) == 0
    assert "0 of 2 differ" in capsys.readouterr().out
    other = tmp_path / "other"
    ledger = LabelLedger(other, 0)
    ledger.note_labels(1, [row("a", "xx", 1.0)])
    ledger.write(1)
    assert main(["labels", "diff", str(run), str(other)]) == 0
    assert "1 of 1 differ" in capsys.readouterr().out


def test_worst(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "worst", str(run), "-n", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["by"] == "character errors"
    assert [r["utterance"] for r in found["labels"]] == ["b"]
