"""`asr transcribe`: any audio, every format, the standard input."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import LETTERS, SAMPLE_RATE_HZ, asr_command, needs_beam_search, read_lines, tones

from asr.__main__ import main
from asr.decoding.captions import formats as captions
from asr.model.model_folder import find_checkpoint


def test_transcribe_takes_any_audio_and_survives_bad_files(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The folder alone must do: nothing of the run around it.
    folder = tmp_path / "model"
    shutil.copytree(find_checkpoint(trained), folder)
    (folder / "optimizer.safetensors").unlink()
    random = np.random.default_rng(0)
    mono = tones("abc def", random)
    stereo = np.stack([mono, mono], axis=1)
    good = []
    for name, rate in (("a.wav", 16_000), ("b.flac", 8_000), ("c.mp3", 44_100)):
        good.append(tmp_path / name)
        soundfile.write(good[-1], stereo, rate)
    broken = tmp_path / "broken.flac"
    broken.write_bytes(good[1].read_bytes()[:300])
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "empty.wav").touch()
    bad = [broken, tmp_path / "text.wav", tmp_path / "empty.wav", tmp_path / "missing.wav"]
    arguments = [str(path) for path in (good[0], *bad, *good[1:])]
    assert main(["transcribe", str(folder), *arguments]) == 2
    output, errors = capsys.readouterr()
    assert [line.split("\t")[0] for line in output.splitlines()] == [str(path) for path in good]
    for path in bad:
        assert any(str(path) in line for line in errors.splitlines()), path
    assert main(["transcribe", str(folder), str(good[0]), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["seconds"] == pytest.approx(len(mono) / 16_000)
    assert set(record["text"]) <= set(LETTERS + " ")


@pytest.mark.parametrize("kind", sorted(captions.FORMATS))
def test_the_command_writes_every_format(trained: Path, tmp_path: Path, kind: str) -> None:
    audio = tmp_path / "talk.wav"
    soundfile.write(audio, tones("abc def", np.random.default_rng(0)), SAMPLE_RATE_HZ)
    output = ["--format", kind, "--output-dir", str(tmp_path / "out")]
    assert main(["transcribe", str(trained), str(audio), *output]) == 0
    written = (tmp_path / "out" / f"talk.{kind}").read_text()
    if kind == "json":
        record = json.loads(written)
        assert record["text"] == " ".join(word["text"] for word in record["words"])
        assert all(0 <= w["begin"] < w["end"] <= record["seconds"] + 0.1 for w in record["words"])


def test_the_standard_input(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, tones("abc", np.random.default_rng(0)), 22_050, format="WAV")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stream.getvalue())))
    assert main(["transcribe", str(trained), "-"]) == 0
    assert capsys.readouterr().out.startswith("-\t")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert main(["transcribe", str(trained), "-"]) == 2
    assert "-: nothing comes through it; pipe a file into it" in capsys.readouterr().err


def test_two_files_of_one_name_do_not_overwrite_each_other(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / "a/x.wav"), str(tmp_path / "b/x.flac")]
    assert main(["transcribe", str(trained), *files, "--output-dir", str(tmp_path)]) == 2
    assert "two files would be written to 'x'" in capsys.readouterr().err


def test_what_is_wrong_with_one_file_does_not_stop_the_others(
    trained: Path, tmp_path: Path
) -> None:
    """A name that is not UTF-8, a letter that the locale has not, a folder, a pipe, and no standard input."""
    sound = tmp_path / "ok.wav"
    soundfile.write(sound, tones("abc", np.random.default_rng(0)), SAMPLE_RATE_HZ)
    latin = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    for copy in (latin, tmp_path / "жук.wav"):
        shutil.copy(sound, copy)
    files = [latin, "-", tmp_path, tmp_path / "жук.wav", "/dev/fd/3", sound]
    for options in ([], ["--format", "json"]):
        line = f'"$@" 3< <(cat {shlex.quote(str(sound))}) <&-'
        done = subprocess.run(
            ["bash", "-c", line, "-", *asr_command(), "transcribe", trained, *files, *options],
            env={**os.environ, "PYTHONIOENCODING": "latin-1"},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 2
        errors = done.stderr.decode().splitlines()
        assert [line.split(":")[1].strip() for line in errors] == [
            "-",
            str(tmp_path),
            "2 of 6 file(s) could not be transcribed whole",
        ]
        lines = done.stdout.splitlines()
        if options:
            names = [json.loads(line)["file"] for line in lines]
            assert names[0].endswith("caf\\xe9.wav")
        else:
            names = [os.fsdecode(line.split(b"\t")[0]) for line in lines]
            assert names[0] == str(latin)
        assert names[1:] == [str(tmp_path / "жук.wav"), "/dev/fd/3", str(sound)]


def test_memory_that_one_file_exhausts_does_not_stop_the_others(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from asr.cli import transcribe as command

    for name in ("large", "full", "ok"):
        samples = tones("abc", np.random.default_rng(0))
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE_HZ)
    whole = command.transcribe

    def exhausted(model: Any, path: Path, *options: Any) -> Any:
        if path.stem == "large":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        if path.stem == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(model, path, *options)

    monkeypatch.setattr(command, "transcribe", exhausted)
    assert main(["transcribe", str(trained), *map(str, sorted(tmp_path.glob("*.wav")))]) == 2
    output, errors = capsys.readouterr()
    assert [line.split("\t")[0] for line in output.splitlines()] == [str(tmp_path / "ok.wav")]
    assert f"{tmp_path / 'large.wav'}: this machine's memory ran out" in errors
    assert f"{tmp_path / 'full.wav'}: No space left on device" in errors


@pytest.mark.parametrize(
    ("kind", "second", "message"),
    [
        ("srt", "b.wav", "captions whose times begin again; give --output-dir"),
        ("vtt", "b.wav", "captions whose times begin again; give --output-dir"),
        ("ctm", "other/a.flac", "two files would be called 'a' in what is printed"),
    ],
)
def test_several_files_in_one_stream_are_told_apart_or_refused(
    tmp_path: Path, kind: str, second: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / "a.wav"), str(tmp_path / second)]
    assert main(["transcribe", str(tmp_path), *files, "--format", kind]) == 2
    assert message in capsys.readouterr().err


@needs_beam_search
def test_it_takes_the_search_that_was_tuned(
    fluent: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm, dev = tmp_path / "lm.arpa", str(corpus / "dev.jsonl.gz")
    cuts = str(corpus / "labelled.jsonl.gz")
    assert main(["prepare", "lm", "--cuts", cuts, "--output", str(lm), "--order", "3"]) == 0
    hypotheses, tuned = tmp_path / "h.jsonl", tmp_path / "h.tuning.json"
    decode = ["decode", str(fluent), dev, "--output", str(hypotheses), "--decoder", "beam"]
    assert main([*decode, "--lm", str(lm), "--beam-size", "9", "--tune", dev]) == 0
    lines = read_lines(hypotheses)
    files = [line["audio"] for line in lines]
    capsys.readouterr()

    def texts(*options: str) -> list[str]:
        assert main(["transcribe", str(fluent), *files, *options]) == 0
        return [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]

    by_decode = [line["hypothesis"] for line in lines]
    assert texts("--tuned", str(tuned)) == by_decode
    stored, strong = json.loads(tuned.read_text()), tmp_path / "strong.json"
    stored["search"]["lm_weight"] = 30.0
    strong.write_text(json.dumps(stored))
    weights = ["--lm-weight=30", f"--word-score={stored['best']['word_score']}"]
    by_model = texts("--lm", str(lm), *weights, "--beam-size", "9")
    assert texts("--tuned", str(strong)) == texts("--tuned", str(tuned), *weights) == by_model
    assert by_model != by_decode

    def said(model: Path, *options: str) -> str:
        assert main(["transcribe", str(model), files[0], *options]) == 2
        return capsys.readouterr().err

    (tmp_path / "other.json").write_text('{"search": {"lexicon": null}}')
    for wrong in ("missing.json", "other.json", "h.jsonl"):
        assert "name what `asr decode --decoder beam --tune DEV` wrote" in said(
            fluent, "--tuned", str(tmp_path / wrong)
        )
    moved = lm.rename(tmp_path / "moved.arpa")
    assert f"language model {lm}, of {tuned}: no such file; say where it is with --lm" in said(
        fluent, "--tuned", str(tuned)
    )
    assert texts("--tuned", str(tuned), "--lm", str(moved)) == by_decode
    moved.write_text(moved.read_text() + "\n")
    assert "is not the one of" in said(fluent, "--tuned", str(tuned), "--lm", str(moved))
