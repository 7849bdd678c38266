"""Training's error rates are the decoder's."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import read_lines

from asr.__main__ import main


def test_training_s_wer_is_the_decoder_s(trained: Path, corpus: Path, tmp_path: Path) -> None:
    for model in ("teacher", "student"):
        output = tmp_path / f"{model}.jsonl"
        manifest = str(corpus / "dev.jsonl.gz")
        assert (
            main(["decode", str(trained), manifest, "--model", model, "--output", str(output)]) == 0
        )
        from asr.evaluation.hypotheses import read_hypotheses
        from asr.evaluation.score import score

        lines = read_lines(trained / "metrics.jsonl")
        last = [line for line in lines if line.get("model") == model][-1]
        result = score(read_hypotheses(output))
        assert result.to_json()["wer"] == pytest.approx(last["wer"])
        assert result.to_json()["cer"] == pytest.approx(last["cer"])
