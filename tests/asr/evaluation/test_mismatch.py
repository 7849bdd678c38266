"""Texts that are written in two ways are noticed, and texts that are wrong are not called so."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.__main__ import main
from asr.evaluation.diagnosis.mismatch import about_texts

WORDS = ["THE CAT SAT ON THE MAT", "IT'S A DOG", "NO ONE KNOWS"]


@pytest.mark.parametrize(
    ("hypotheses", "said"),
    [
        (["the cat sat on the mat", "it's a dog", "no one knew"], "is 8.3 % when case does not"),
        (["The, cat, sat, on, the, mat.", "It's, a, dog!", "No; one knows."], "--normaliser libri"),
        (["кот", "пёс и кот", "никто не"], "references are in Latin letters and hypotheses in Cyr"),
        (["a dog is here now again", "so what now", "we do it"], None),
        (["THE CAT SAT ON THE MAT", "it's a dog", "no one knows"], None),  # half of it is right
        (["", "", ""], None),
    ],
)
def test_what_most_errors_are(hypotheses: list[str], said: str | None) -> None:
    note = about_texts(WORDS, hypotheses)
    assert (note is None) if said is None else (note is not None and said in note)


def test_silence_and_nothing_are_no_mismatch() -> None:
    assert about_texts([], []) is None
    assert about_texts(["", ""], ["a", "b"]) is None
    assert about_texts(["...", "!"], ["a", "b"]) is None


def test_score_says_so_and_the_remedy_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, change in (("ref", str), ("hyp", str.lower)):
        lines = [f"u{number}\t{change(text)}\n" for number, text in enumerate(WORDS)]
        (tmp_path / f"{name}.tsv").write_text("".join(lines))
    files = ["score", str(tmp_path / "ref.tsv"), str(tmp_path / "hyp.tsv")]
    assert main(files) == 0
    assert "note: WER 100.0 % is 0.0 % when case does not count" in capsys.readouterr().out
    assert main([*files, "--normaliser", "lower"]) == 0
    assert "note: WER" not in capsys.readouterr().out
