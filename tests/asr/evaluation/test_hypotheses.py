"""Hypotheses files, and what a malformed line says."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.cli import score as score_command
from asr.errors import UserError
from asr.evaluation.hypotheses import bound, headline_model, is_stamp_of, read_hypotheses

GOOD = '{"id": "a", "reference": "A", "hypothesis": "A", "seconds": 1}'


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{not json", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"id": "b", "hypothesis": "A", "seconds": 1}', "'reference' is not text"),
        ('{"id": "b", "reference": "A", "hypothesis": "A"}', "'seconds' is not a length"),
        ('{"id": "b", "reference": "A", "hypothesis": "A", "seconds": NaN}', "'seconds' is not"),
        (GOOD, "id 'a' was already on line 1"),
        (GOOD.replace('"A"', '"A \\ud83d B"', 1), r"'\\ud83d' is half a character"),
        (GOOD.replace("1}", "1" + "0" * 400 + "}"), "'seconds' is not a length"),
        (GOOD.replace("1}", "1" + "0" * 5000 + "}"), "not JSON that can be read"),
        (GOOD.replace("1}", '1, "x": ' + "[" * 100_000 + "}"), "not JSON that can be read"),
    ],
)
def test_malformed_line_names_file_and_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "teacher.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=fault) as caught:
        read_hypotheses(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_missing_and_empty_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_hypotheses(tmp_path / "no.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no utterance in it"):
        read_hypotheses(tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match="nothing decoded"):
        score_command.main([str(tmp_path)])


def test_line_separator_inside_a_transcript_is_no_end_of_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD.replace('"A"', '"A\u2028B"', 1) + "\n", encoding="utf-8")
    assert read_hypotheses(path)[0].reference == "A\u2028B"


def test_a_whole_character_of_two_halves_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD.replace('"A"', '"\\ud83d\\ude00"', 1) + "\n", encoding="utf-8")
    assert read_hypotheses(path)[0].reference == "\N{GRINNING FACE}"


def test_a_pretrained_model_stands_for_a_run_only_where_nothing_else_does() -> None:
    assert headline_model({"zero_shot": 0, "student_beam": 0}) == "student_beam"
    assert headline_model({"zero_shot": 0, "supervised": 0}) == "supervised"
    assert headline_model({"zero_shot": 0}) == "zero_shot"
    assert headline_model({}) is None


def test_a_stamp_is_of_the_hypotheses_that_it_was_written_for(tmp_path: Path) -> None:
    """A kill between the two left new hypotheses beside the stamp of another model."""
    path = tmp_path / "teacher.jsonl"
    path.write_text(GOOD)
    stamp = bound({"checkpoint": "a"}, path)
    assert stamp["checkpoint"] == "a"
    assert is_stamp_of(path, stamp)
    path.write_text(GOOD.replace("A", "B"))
    assert not is_stamp_of(path, stamp)
    assert is_stamp_of(path, {"checkpoint": "of an older version"})
