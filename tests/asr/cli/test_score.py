"""`asr score`: its table, its JSON and its options."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import asr_command, peak_memory
from evaluation_helpers import utterances, write

from asr.cli import score as score_command
from asr.errors import UserError
from asr.evaluation import score
from asr.evaluation.hypotheses import Utterance
from asr.evaluation.significance import holm


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "decode/test/teacher.jsonl", utterances(0.1))
    bad = write(tmp_path / "decode/test/supervised.jsonl", utterances(0.4))
    assert score_command.main([str(good)]) == 0
    assert "300 utterances, 2,400 words" in capsys.readouterr().out
    assert score_command.main([str(tmp_path)]) == 0
    assert "teacher minus supervised: WER -" in capsys.readouterr().out
    assert score_command.main([str(tmp_path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"normaliser", "sets", "paired", "by"}
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


def written_run(folder: Path, config: str | None) -> Path:
    """A run whose models write with case and punctuation; one of them hears a word in ten wrongly."""
    lines = [
        Utterance(f"u{i}", "Well, the Cat sat.", f"well the {'hat' if i % 10 else 'cat'} sat", 2.0)
        for i in range(30)
    ]
    right = [Utterance(u.id, u.reference, u.reference.lower(), 2.0) for u in lines]
    for name, own in (("zero_shot", lines), ("teacher", right), ("student", right), ("x", lines)):
        write(folder / f"decode/test/{name}.jsonl", own)
    if config is not None:
        (folder / "config.yaml").write_text(config)
    return folder


def rates(run: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert score_command.main([str(run), "--json", *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_is_scored_as_its_recipe_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = written_run(tmp_path / "run", "corpus: {scoring_normaliser: lower}\n")
    found = rates(run, capsys)
    assert found["normaliser"] == "lower/1"
    assert found["sets"]["test"]["teacher"]["wer"] == 0
    other = rates(run, capsys, "--normaliser", "none")
    assert (other["normaliser"], other["sets"]["test"]["teacher"]["wer"]) == ("none/1", 50)
    for config in (None, "name: an older run\n"):
        older = written_run(tmp_path / f"older {config is None}", config)
        assert rates(older, capsys)["normaliser"] == "none/1"
    file = run / "decode/test/teacher.jsonl"
    assert score_command.main([str(file)]) == 0
    said = capsys.readouterr().out
    assert "normaliser none/1" in said
    assert "scoring_normaliser lower: --normaliser lower compares as that run does" in said
    assert score_command.main([str(file), "--normaliser", "lower"]) == 0
    assert "note:" not in capsys.readouterr().out


def test_a_recipe_runs_nothing_and_names_what_is_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, ran = tmp_path / "own.py", tmp_path / "ran"
    file.write_text(f"open({str(ran)!r}, 'w')\ndef f(text): return text\n")
    run = written_run(tmp_path / "run", f"corpus: {{scoring_normaliser: '{file}:f'}}\n")
    with pytest.raises(UserError, match=f"config.yaml.*run only where.*--normaliser {file}:f"):
        score_command.main([str(run)])
    assert not ran.exists()
    assert score_command.main([str(run), "--normaliser", f"{file}:f"]) == 0
    (run / "config.yaml").write_text("corpus: {scoring_normaliser: whisper-english}\n")
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    with pytest.raises(UserError, match=r"config.yaml.*asr-ema\[whisper\].*--normaliser"):
        score_command.main([str(run)])
    (run / "config.yaml").write_text("corpus: [")
    with pytest.raises(UserError, match=r"config\.yaml: not readable"):
        score_command.main([str(run)])


def test_further_pairs_are_corrected_together_with_the_usual_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = written_run(tmp_path, "corpus: {scoring_normaliser: librispeech}\n")
    write(run / "decode/dev/teacher.jsonl", [Utterance("a", "A", "A", 1.0)])
    asked = ["--compare", "x:student", "--compare", "zero_shot:teacher"]  # the second is there
    pairs = rates(run, capsys, *asked)["paired"]
    assert list(pairs) == ["teacher_vs_student", "teacher_vs_zero_shot", "x_vs_student"]
    assert pairs["x_vs_student"]["delta_wer"] == -pairs["teacher_vs_zero_shot"]["delta_wer"] > 0
    corrected = holm({name: pair["p_wer"] for name, pair in pairs.items()})
    assert {name: pair["p_wer_holm"] for name, pair in pairs.items()} == corrected
    assert score_command.main([str(run), *asked]) == 0
    said = capsys.readouterr().out
    assert "x minus student: WER +" in said
    assert "note: x and student are not both in decode/dev" in said
    with pytest.raises(UserError, match=r"no decode/test/y\.jsonl.*zero_shot, student, teacher, x"):
        score_command.main([str(run), "--compare", "teacher:y"])
    for wrong in ("teacher", "teacher:teacher", ":x", "a:b:c"):
        with pytest.raises(UserError, match="name two different files"):
            score_command.main([str(run), "--compare", wrong])
    with pytest.raises(UserError, match="`asr compare` compares files"):
        score_command.main([str(run / "decode/test/x.jsonl"), "--compare", "teacher:x"])


def test_what_was_read_is_printed_and_lines_go_by_their_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, hypothesis = tmp_path / "r.txt", tmp_path / "h.txt"
    reference.write_text("hello world\n\ngood morning to you\n")
    hypothesis.write_text("hello word\n\ngood morning two you\n")
    paths = [str(reference), str(hypothesis)]
    with pytest.raises(UserError, match="may be Kaldi text"):
        score_command.main(paths)
    assert score_command.main([*paths, "--format", "lines", "--reference-format", "lines"]) == 0
    printed = capsys.readouterr().out
    assert "    33.33  " in printed  # as jiwer has it
    assert f"note: {reference} was read as lines, {hypothesis} as lines" in printed
    hypothesis.write_text("hello word\ngood morning two you\n")
    with pytest.raises(UserError, match=r"has 3 lines and .*h\.txt 2; write one line for each"):
        score_command.main([*paths, "--format", "lines", "--reference-format", "lines"])


@pytest.mark.slow
def test_a_line_more_takes_no_more_than_2_kilobytes(tmp_path: Path) -> None:
    """A million of them took 3.9 GiB."""
    peaks = []
    for count in (1, 100_000):
        paths = [tmp_path / f"{name}{count}.tsv" for name in ("reference", "hypothesis")]
        for path, last in zip(paths, ("eleven", "twelve"), strict=True):
            lines = [
                f"u{i}\tone two three four five six seven eight nine {last}" for i in range(count)
            ]
            path.write_text("\n".join(lines), encoding="utf-8")
        peaks.append(peak_memory([*asr_command(), "score", *map(str, paths)])[0])
    assert (peaks[1] - peaks[0]) / 100_000 < 2_000


def test_any_white_space_parts_words_whatever_the_normaliser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a no-break space `asr score` said 0 % and the report 100 %."""
    lines = [("u0", "a\u00a0b c", "a b c"), ("u1", "d\te", "d e"), ("u2", "s\nt", "s t")]
    texts = [Utterance(name, one, other, 1.0) for name, one, other in lines]
    write(tmp_path / "decode/test/teacher.jsonl", texts)
    own = tmp_path / "mine.py"
    own.write_text("def lower(text):\n    return text.lower()\n")
    for name in ("none", "lower", "librispeech", f"{own}:lower"):
        assert score_command.main([str(tmp_path), "--json", "--normaliser", name]) == 0
        rates = json.loads(capsys.readouterr().out)["sets"]["test"]["teacher"]
        assert (rates["wer"], rates["cer"], rates["ser"]) == (0, 0, 0), name


def test_one_file_of_nemo_and_tables_by_its_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "predictions.json"
    lines = [
        {
            "audio_filepath": f"/a/{i}.wav",
            "duration": 1.0 + i,
            "text": "one two",
            "pred_text": "one two" if i % 2 else "one too",
            "language": "de" if i % 4 else "en",
            "snr": 20.5 - i,
        }
        for i in range(20)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert score_command.main([str(path), "--by", "language,length,snr"]) == 0
    said = capsys.readouterr().out
    assert "20 utterances, 40 words" in said
    rows = [line.split() for line in said.splitlines()]
    [german] = [row for row in rows if row[:1] == ["de"]]
    assert german[2:5] == ["15", "30", "16.67"]
    assert [row[0] for row in rows if row[:1] == [">15"]] == [">15"]
    assert next(row[:2] for row in rows if row[:1] == ["below"]) == ["below", "6.5"]
    assert score_command.main([str(path), "--by", "language", "--json"]) == 0
    [system] = json.loads(capsys.readouterr().out)["systems"]
    assert {value: row["wer"] for value, row in system["by"]["language"].items()} == {
        "de": pytest.approx(100 * 5 / 30),
        "en": 50.0,
    }
    with pytest.raises(UserError, match=r"--by accent.*name one of .*language.*snr"):
        score_command.main([str(path), "--by", "accent"])
    lines[3].pop("pred_text")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="line 4: has no 'pred_text'"):
        score_command.main([str(path)])


def test_a_run_by_a_field_of_the_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, wrong in (("teacher", 0), ("student", 1)):
        path = tmp_path / f"decode/test/{model}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            {
                "id": f"u{i}",
                "reference": "a b",
                "hypothesis": "a x" if wrong and i % 2 else "a b",
                "seconds": 2.0,
                "room": "hall" if i % 2 else None,
            }
            for i in range(10)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert score_command.main([str(tmp_path), "--by", "room"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["hall", "student", "5", "10", "50.00"] in [row[:5] for row in rows]
    assert ["unknown", "teacher", "5", "10", "0.00"] in [row[:5] for row in rows]


def test_speakers_that_are_numbers_are_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"id": f"u{n}", "reference": "a b", "hypothesis": "a", "seconds": 1.0, "speaker": 1000 + n}
        for n in range(20)
    ]
    path = tmp_path / "h.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert score_command.main([str(path), "--by", "speaker"]) == 0
    assert "1019" in capsys.readouterr().out
