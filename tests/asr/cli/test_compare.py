"""`asr compare`: who is better, by how much, and when it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_helpers import system

from asr.cli import compare
from asr.errors import UserError


def test_two_systems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = system(tmp_path / "a.jsonl", 0.1), system(tmp_path / "b.jsonl", 0.3)
    assert compare.main([str(good), str(bad), "--names", "ours,theirs"]) == 0
    shown = capsys.readouterr().out
    assert "ours minus theirs: WER -" in shown
    assert "MAPSSWE" in shown
    assert "McNemar" in shown
    assert "ours is better than theirs by" in shown
    assert "may be chance" not in shown.split("ours is better")[1].split("\n")[0]
    assert compare.main([str(good), str(bad), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    [pair] = found["pairs"]
    assert pair["delta_wer"] < -15
    assert max(pair["p_wer"], pair["mapsswe"]["p"], pair["mcnemar"]["p"]) < 1e-3
    assert pair["p_wer_holm"] == pair["p_wer"]
    assert found["systems"][0]["stamp"]["normaliser"] == "none/1"


def test_texts_with_references_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("a THE CAT\nb SAT\n")
    (tmp_path / "x.trn").write_text("the cat (a)\nsat (b)\n")
    (tmp_path / "y.tsv").write_text("a\tthe dog\nb\tsat\n")
    paths = [str(tmp_path / "x.trn"), str(tmp_path / "y.tsv")]
    reference = ["--reference", str(tmp_path / "text")]
    assert compare.main([*paths, *reference, "--normaliser", "librispeech", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["wer"] for s in found["systems"]] == pytest.approx([0.0, 100 / 3])
    assert found["systems"][0]["stamp"]["normaliser"] == "librispeech/2"


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = str(system(tmp_path / "a.jsonl", 0.1))
    with pytest.raises(UserError, match="one file given"):
        compare.main([one])
    with pytest.raises(UserError, match="give 2 names"):
        compare.main([one, one, "--names", "x"])
