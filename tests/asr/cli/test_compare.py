"""`asr compare`: who is better, by how much, and when it refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from asr.cli import compare
from asr.errors import UserError


def system(path: Path, errors_in: float, number: int = 200, first: int = 0) -> Path:
    words, noise = random.Random(1), random.Random(errors_in)
    with path.open("w") as stream:
        for i in range(number):
            reference = [words.choice("ABCDEFGH") * words.randint(1, 4) for _ in range(8)]
            hypothesis = ["X" if noise.random() < errors_in else w for w in reference]
            record = {"id": f"u{i + first}", "reference": " ".join(reference), "seconds": 2.0}
            stream.write(json.dumps({**record, "hypothesis": " ".join(hypothesis)}) + "\n")
    return path


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


def test_texts_with_references_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("a THE CAT\nb SAT\n")
    (tmp_path / "x.trn").write_text("the cat (a)\nsat (b)\n")
    (tmp_path / "y.tsv").write_text("a\tthe dog\nb\tsat\n")
    paths = [str(tmp_path / "x.trn"), str(tmp_path / "y.tsv")]
    reference = ["--reference", str(tmp_path / "text")]
    assert compare.main([*paths, *reference, "--normaliser", "librispeech", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["wer"] for s in found["systems"]] == pytest.approx([0.0, 100 / 3])
    assert found["systems"][0]["stamp"]["normaliser"] == "librispeech/1"


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = str(system(tmp_path / "a.jsonl", 0.1))
    with pytest.raises(UserError, match="one file given"):
        compare.main([one])
    with pytest.raises(UserError, match="give 2 names"):
        compare.main([one, one, "--names", "x"])
