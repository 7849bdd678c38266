"""Several systems are corrected for their number, and stamps must agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_helpers import system

from asr.cli import compare
from asr.errors import UserError


def test_many_systems_are_corrected_for_their_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(system(tmp_path / f"{e}.jsonl", e)) for e in (0.1, 0.101, 0.3)]
    assert compare.main([*paths, "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)["pairs"]
    assert len(pairs) == 3
    assert all(pair["p_wer_holm"] >= pair["p_wer"] for pair in pairs)
    assert pairs[1]["p_wer_holm"] == pytest.approx(3 * pairs[1]["p_wer"])
    assert compare.main([*paths, "--names", "a,b,c"]) == 0
    assert "after Holm's correction" in capsys.readouterr().out


def test_stamps_that_differ_are_refused_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = system(tmp_path / "a.jsonl", 0.1)
    part = system(tmp_path / "b.jsonl", 0.3, number=150)
    with pytest.raises(UserError, match="differ in references_sha256, utterances"):
        compare.main([str(whole), str(part)])
    assert compare.main([str(whole), str(part), "--common", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["utterances"] for s in found["systems"]] == [150, 150]
    assert found["systems"][0]["notes"] == ["50 of its utterances are not in all"]
    others = system(tmp_path / "c.jsonl", 0.3, first=1000)
    with pytest.raises(UserError, match="no utterance has the same reference in all"):
        compare.main([str(whole), str(others), "--common"])
