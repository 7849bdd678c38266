"""`asr score`: its table, its JSON and its options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_helpers import utterances, write

from asr.cli import score as score_command
from asr.errors import UserError
from asr.evaluation import score
from asr.evaluation.hypotheses import Utterance


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "decode/test/teacher.jsonl", utterances(0.1))
    bad = write(tmp_path / "decode/test/supervised.jsonl", utterances(0.4))
    assert score_command.main([str(good)]) == 0
    assert "300 utterances, 2,400 words" in capsys.readouterr().out
    assert score_command.main([str(tmp_path)]) == 0
    assert "teacher minus supervised: WER -" in capsys.readouterr().out
    assert score_command.main([str(tmp_path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"sets", "paired", "by"}
    with pytest.raises(UserError, match="`asr compare` compares them"):
        score_command.main([str(good), str(bad)])
    assert score_command.main(["--reference-format", "asr", str(good), str(bad), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"][0]
    assert found["wer"] == pytest.approx(score.score(utterances(0.4)).wer)
    with pytest.raises(UserError, match="give REF and HYP"):
        score_command.main([str(good)] * 3)


def test_the_mean_of_utterances_is_only_given_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [Utterance("a", "A B C D", "A B C D", 1.0), Utterance("b", "A", "X", 1.0)]
    path = write(tmp_path / "a.jsonl", two)
    assert score_command.main([str(path), "--json"]) == 0
    assert "mean_utterance_wer" not in capsys.readouterr().out
    assert score_command.main([str(path), "--json", "--utterance-mean"]) == 0
    rates = json.loads(capsys.readouterr().out)["systems"][0]
    assert rates["wer"] == pytest.approx(20)
    assert rates["mean_utterance_wer"] == pytest.approx(50)
