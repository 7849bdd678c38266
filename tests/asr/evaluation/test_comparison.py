"""Several systems are corrected for their number, and stamps must agree."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from evaluation_helpers import system

from asr.cli import compare
from asr.errors import UserError
from asr.evaluation.bootstrap import Comparison
from asr.evaluation.comparison import Pair, adjusted, who_is_better
from asr.evaluation.significance import SegmentTest, SentenceTest


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


def _pair(a: str, b: str, delta: float, p: float) -> Pair:
    comparison = Comparison(delta, delta, delta, p, delta, delta, delta, p)
    return Pair(a, b, comparison, SegmentTest(1, 0.0, 0.0, 1.0), SentenceTest(0, 0, 1.0))


def test_of_five_equal_systems_none_is_called_better_but_for_one_time_in_twenty() -> None:
    """A pair's own p-value was judged: 23 % of equal fives had a system that "is better"."""
    random = np.random.default_rng(0)
    fives, alone, together = 2000, 0, 0
    errors_XNS = random.poisson(1.0, size=(fives, 200, 5)).astype(float)
    for errors_NS in errors_XNS:
        pairs = []
        for a, b in itertools.combinations(range(5), 2):
            differences_N = errors_NS[:, a] - errors_NS[:, b]
            z = differences_N.mean() / (differences_N.std(ddof=1) / math.sqrt(200))
            p = math.erfc(abs(z) / math.sqrt(2))
            pairs.append(_pair(str(a), str(b), differences_N.mean(), p))
        alone += any(pair.p_wer < 0.05 for pair in pairs)
        said = [
            who_is_better(pair, p.wer, 200) for pair, p in zip(pairs, adjusted(pairs), strict=True)
        ]
        together += any(" is better than " in words for words in said)
    assert alone / fives > 0.2
    assert together / fives <= 0.05


def test_what_five_equal_systems_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Equally many errors, drawn anew: one of the ten pairs has p below 0.05, by chance.
    paths = [str(system(tmp_path / f"{n}.jsonl", 0.2 + n * 1e-9)) for n in (0, 1, 2, 3, 13)]
    assert compare.main([*paths, "--names", "a,b,c,d,e"]) == 0
    shown = capsys.readouterr().out
    assert "after Holm's correction), not significant, it may be chance" in shown
    assert "is better than" not in shown
    assert ", significant at 5 %" not in shown
    assert compare.main([*paths, "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)["pairs"]
    assert min(pair["p_wer"] for pair in pairs) < 0.05 < min(pair["p_wer_holm"] for pair in pairs)
    assert all(pair["mapsswe"]["p_holm"] >= pair["mapsswe"]["p"] for pair in pairs)
