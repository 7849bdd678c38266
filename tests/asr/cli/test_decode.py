"""`asr decode`: with a beam search, and with what others have trained."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import LETTERS, asr_command, needs_beam_search, read_lines
from ctc_helpers import write_ctc
from whisper_helpers import write_whisper

from asr.__main__ import main
from asr.data.dataset import SpeechSet


@needs_beam_search
def test_the_command_tunes_and_stamps(
    trained: Path, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lm, output = tmp_path / "lm.arpa", tmp_path / "out.jsonl"
    cuts = str(corpus / "labelled.jsonl.gz")
    assert main(["prepare", "lm", "--cuts", cuts, "--output", str(lm), "--order", "3"]) == 0
    dev = str(corpus / "dev.jsonl.gz")
    capfd.readouterr()
    command = [
        "decode",
        str(trained),
        dev,
        "--output",
        str(output),
        "--nbest",
        "3",
        "--token-times",
    ]
    command += ["--decoder", "beam", "--lm", str(lm), "--beam-size", "20"]
    assert main([*command, "--tune", dev]) == 0
    said = capfd.readouterr()
    assert said.err.count("Loading the LM") == 1
    stamp = json.loads(output.with_suffix(".stamp.json").read_text())
    assert len(stamp["language_model_sha256"]) == 64
    assert stamp["tuned_under"] == "none/1"
    tuning = json.loads(output.with_suffix(".tuning.json").read_text())
    grid, best = tuning["grid"], tuning["best"]
    weights = f"lm weight {best['lm_weight']:.2f}, word score {best['word_score']:+.1f}"
    [line] = [line for line in said.out.splitlines() if line.startswith("tuned on 'dev' by WER")]
    greedy = tuning["greedy"]["wer"]
    sign = "better" if best["wer"] <= greedy else "worse"
    assert f"{weights}: WER {best['wer']:6.2f} %" in line
    points = abs(best["wer"] - greedy)
    assert f"{points:.2f} points {sign} than greedy ({greedy:.2f} %)" in line
    assert (best["lm_weight"], best["word_score"]) == (stamp["lm_weight"], stamp["word_score"])
    [chosen] = [
        (g["wer"], g["cer"])
        for g in grid
        if (g["lm_weight"], g["word_score"]) == (stamp["lm_weight"], stamp["word_score"])
    ]
    assert chosen == min((g["wer"], g["cer"]) for g in grid)
    for record in read_lines(output):
        assert record["nbest"][0]["text"] == record["hypothesis"]
        assert " ".join(word["text"] for word in record["words"]) == record["hypothesis"]
        spelt = "".join(token["token"] for token in record["tokens"])
        assert " ".join(spelt.split()) == record["hypothesis"]
        times = [t for token in record["tokens"] for t in (token["begin"], token["end"])]
        assert times == sorted(times)
        assert set(record["hypothesis"]) <= set(LETTERS + " ")


@needs_beam_search
def test_two_processes_tune_and_decode_as_one(fluent: Path, corpus: Path, tmp_path: Path) -> None:
    lm, dev = tmp_path / "lm.arpa", str(corpus / "dev.jsonl.gz")
    cuts = str(corpus / "labelled.jsonl.gz")
    assert main(["prepare", "lm", "--cuts", cuts, "--output", str(lm), "--order", "3"]) == 0

    def command(name: str) -> list[str]:
        options = ["--output", str(tmp_path / name / "out.jsonl"), "--batch-seconds", "4"]
        options += ["--decoder", "beam", "--lm", str(lm), "--beam-size", "5", "--nbest", "2"]
        return ["decode", str(fluent), dev, *options, "--tune", dev, "--token-times"]

    assert main(command("one")) == 0
    run = [*asr_command(2), *command("two")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("tuned on 'dev'") == 1
    assert done.stdout.count("decoded 8 utterances") == 1
    written = sorted(path.name for path in (tmp_path / "two").iterdir())
    assert written == ["out.jsonl", "out.stamp.json", "out.tuning.json"]
    for name in written:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_options_of_the_beam_need_the_beam(trained: Path, corpus: Path) -> None:
    dev = str(corpus / "dev.jsonl.gz")
    assert main(["decode", str(trained), dev, "--lm", "x.arpa"]) == 2
    assert main(["decode", str(trained), dev, "--nbest", "0"]) == 2


def test_a_pretrained_model_decodes_as_it_is(
    trained: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    folder, run, dev = tmp_path / "whisper", tmp_path / "run", str(corpus / "dev.jsonl.gz")
    write_whisper(folder)
    before = sorted(folder.iterdir())
    for refused in (
        [],
        ["--output", str(folder / "x.jsonl")],
        ["--output", str(tmp_path / "x.jsonl"), "--model", "student"],
        ["--output", str(tmp_path / "x.jsonl"), "--token-times"],
    ):
        assert main(["decode", str(folder), dev, *refused]) == 2
    assert "nothing is written; say where to with --output" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before
    assert main(["decode", str(trained), dev, "--language", "en"]) == 2

    decoded = run / "decode/dev"
    assert main(["decode", str(trained), dev, "--output", str(decoded / "teacher.jsonl")]) == 0
    own = ["--output", str(decoded / "zero_shot.jsonl"), "--no-safeguards"]
    assert main(["decode", str(folder), dev, *own]) == 0
    stamp = json.loads((decoded / "zero_shot.stamp.json").read_text())
    assert (stamp["kind"], stamp["temperatures"], stamp["set"]) == ("whisper", [0.0], "dev")
    assert len(stamp["weights_sha256"]) == 64
    by_us, by_it = (
        {line["id"]: line for line in read_lines(decoded / f"{name}.jsonl")}
        for name in ("teacher", "zero_shot")
    )
    for name, line in by_it.items():
        for field in ("reference", "seconds", "speaker", "audio", "audio_begin"):
            assert line[field] == by_us[name][field]
    assert any(line["hypothesis"] for line in by_it.values())

    labels = ["--output", str(tmp_path / "labels"), "--export", "asr"]
    assert main(["label", str(folder), dev, *labels]) == 0
    shutil.copy(tmp_path / "labels/labels.asr.jsonl", decoded / "labels.jsonl")
    for line in read_lines(decoded / "labels.jsonl"):
        for field in ("reference", "seconds", "speaker", "audio", "audio_begin"):
            assert line[field] == by_us[line["id"]][field]
    assert main(["report", str(run), "--no-audio", "--compare", "teacher:labels"]) == 0
    found = json.loads((run / "report/results.json").read_text())
    assert set(found["paired"]) == {"teacher_vs_zero_shot", "teacher_vs_labels"}


@pytest.mark.parametrize(
    ("write", "options"), [(write_whisper, ["--no-safeguards"]), (write_ctc, [])]
)
def test_what_others_have_trained_decodes_on_two_processes_as_on_one(
    write: Callable[[Path], object],
    options: list[str],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "model").mkdir()
    write(tmp_path / "model")
    command = ["decode", str(tmp_path / "model"), str(corpus / "dev.jsonl.gz")]
    command += [*options, "--batch-seconds", "4", "--output"]
    one, two = tmp_path / "one/h.jsonl", tmp_path / "two/h.jsonl"
    assert main([*command, str(one)]) == 0
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert not two.exists()
        assert main([*command, str(two)]) == 0
    for name in ("h.jsonl", "h.stamp.json"):
        assert two.with_name(name).read_bytes() == one.with_name(name).read_bytes()


def test_references_in_another_case_are_noticed(
    fluent: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dev = tmp_path / "dev.jsonl.gz"
    shutil.copy(corpus / "dev.jsonl.gz", dev)
    speech = SpeechSet.load(dev)
    (tmp_path / "references").mkdir()
    for change, is_said in ((str.upper, True), (str, False)):
        pairs = zip(speech.ids, speech.references, strict=True)
        lines = "".join(f"{name}\t{change(text)}\n" for name, text in pairs)
        (tmp_path / "references/dev.tsv").write_text(lines)
        assert main(["decode", str(fluent), str(dev), "--output", str(tmp_path / "out.jsonl")]) == 0
        said = capsys.readouterr().out
        assert ("WER 100.0 % is 0.0 % when case does not count" in said) is is_said
