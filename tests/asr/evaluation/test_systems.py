"""Any reference meets any hypothesis, and none is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_helpers import cut, written

from asr.cli import score
from asr.errors import UserError
from asr.evaluation.transcripts import FORMATS

REFERENCES = {"u1": "the cat sat", "u2": "on the mat", "u3": "today"}
HYPOTHESES = {"u1": "the cat sit", "u2": "on mat", "u3": "today"}


def in_format(folder: Path, kind: str, content: dict[str, str], role: str) -> Path:
    lines = {
        "kaldi": lambda n, t: f"{n} {t}",
        "tsv": lambda n, t: f"{n}\t{t}",
        "trn": lambda n, t: f"{t} ({n})",
        "asr": lambda n, t: json.dumps({"id": n, role: t, "seconds": 1}),
        "nemo": lambda n, t: json.dumps({"audio_filepath": n, "text": t}),
        "lhotse": lambda n, t: json.dumps(cut(n, t).to_dict()),
    }
    path = folder / f"{role}.{kind}"
    return written(path, "".join(lines[kind](n, t) + "\n" for n, t in content.items()))


@pytest.mark.parametrize("kind", ["kaldi", "tsv", "trn", "asr", "nemo", "lhotse"])
@pytest.mark.parametrize("other", ["kaldi", "lhotse"])
def test_any_reference_meets_any_hypothesis(
    tmp_path: Path, kind: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kind in FORMATS
    reference = in_format(tmp_path, kind, REFERENCES, "reference")
    hypothesis = in_format(tmp_path, other, HYPOTHESES, "hypothesis")
    formats = ["--reference-format", kind, "--format", other]
    assert score.main([str(reference), str(hypothesis), *formats, "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["systems"]
    assert found["wer"] == pytest.approx(100 * 2 / 7)
    assert (found["substitutions"], found["deletions"], found["insertions"]) == (1, 1, 0)


def test_utterances_without_a_partner_are_never_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = in_format(tmp_path, "kaldi", REFERENCES, "reference")
    some = {"u1": "the cat sat", "u2": "on the mat", "x9": "noise"}
    hypothesis = in_format(tmp_path, "kaldi", some, "hypothesis")
    arguments = [str(reference), str(hypothesis), "--json"]
    with pytest.raises(UserError, match=r"no hypothesis for 1 of 3 references .*'u3'"):
        score.main(arguments)
    for missing, words, errors in (("deleted", 7, 1), ("left_out", 6, 0)):
        assert score.main([*arguments, "--missing", missing]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["systems"][0]["words"] == words
        assert found["systems"][0]["deletions"] == errors
        assert len(found["notes"]) == 3  # with the formats
    stranger = in_format(tmp_path, "tsv", {"v1": "a"}, "hypothesis")
    with pytest.raises(UserError, match="none of its ids is among the references"):
        score.main([str(reference), str(stranger), "--format", "tsv"])
