from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data_prep_helpers import cuts_of, make_librispeech, published, summary_of, write_audio

from asr.data_prep import cli, manifests, recordings
from asr.errors import UserError


def prepare(root: Path, output: Path, *more: str) -> int:
    return cli.main(["folder", "--root", str(root), "--output", str(output), "--jobs", "1", *more])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "c.ogg"):
        write_audio(tmp_path / "in" / name)
    (tmp_path / "in" / "transcripts.tsv").write_text("a\tone\nb\ttwo\n")
    return tmp_path / "in"


@pytest.mark.parametrize("survivors", [0, 1])
def test_a_crash_while_writing_manifests(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survivors: int
) -> None:
    output, calls = tmp_path / "out", []
    write_cuts = manifests.write_cuts

    def crashing(path: Path, cuts: object) -> None:
        if len(calls) == survivors:
            raise KeyboardInterrupt
        calls.append(path)
        write_cuts(path, cuts)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "write_cuts", crashing)
        with pytest.raises(KeyboardInterrupt):
            prepare(root, output)
    assert published(output) == []
    assert prepare(root, output) == 0
    assert published(output) == ["labelled.jsonl.gz", "summary.json", "untranscribed.jsonl.gz"]
    assert not (output / ".partial").exists()


def test_a_crash_between_two_renames(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    replace = os.replace

    def crashing(source: Path, target: Path) -> None:
        if target.name == "summary.json" and target.parent == output:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crashing)
        with pytest.raises(KeyboardInterrupt):
            prepare(root, output)
    assert "summary.json" not in published(output)
    # All was written, so the next call, whatever it prepares, brings it to its end.
    assert prepare(root, output, "--set-name", "x") == 0
    sets = ["labelled", "untranscribed", "x", "x-untranscribed"]
    assert list(summary_of(output)["sets"]) == sets
    assert published(output) == sorted(["summary.json", *(f"{name}.jsonl.gz" for name in sets)])
    assert not (output / ".partial").exists()


def test_work_done_before_a_crash_is_not_done_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    checked: list[str] = []
    check_audio = recordings.check_audio

    def counting(path: Path) -> object:
        if path.name == "c.ogg" and "c.ogg" not in checked:
            checked.append(path.name)
            raise KeyboardInterrupt
        checked.append(path.name)
        return check_audio(path)

    monkeypatch.setattr(recordings, "check_audio", counting)
    with pytest.raises(KeyboardInterrupt):
        prepare(root, output)
    assert prepare(root, output) == 0
    assert "2 recordings already checked" in capsys.readouterr().out
    assert checked == ["a.wav", "b.wav", "c.ogg", "c.ogg"]


def test_a_killed_process_leaves_nothing_and_is_continued(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for number in range(40):
        write_audio(root / f"{number}.wav", seconds=0.1)
    # Slowed down, so that the signal comes in the middle however fast the machine is.
    program = (
        "import sys, time\n"
        "from asr.data_prep import cli, recordings\n"
        "check = recordings.check_audio\n"
        "recordings.check_audio = lambda path: (time.sleep(0.1), check(path))[1]\n"
        "cli.main(sys.argv[1:])\n"
    )
    arguments = ["folder", "--root", str(root), "--output", str(output), "--jobs", "1"]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    journal = output / ".partial" / "checked.jsonl"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (journal.is_file() and journal.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert published(output) == []
    with journal.open("a") as file:
        file.write('["torn line')
    assert cli.main(arguments) == 0
    assert len(cuts_of(output, "untranscribed")) == 40


def test_a_finished_preparation_is_recognised(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    prepare(root, output)
    before = summary_of(output)
    with monkeypatch.context() as patch:
        patch.setattr(recordings, "check_audio", lambda path: pytest.fail("decoded again"))
        assert prepare(root, output, "--jobs", "2") == 0
    assert "already prepared" in capsys.readouterr().out
    write_audio(root / "d.wav")
    prepare(root, output)
    (now,), (then,) = summary_of(output)["preparations"], before["preparations"]
    assert now["fingerprint"] != then["fingerprint"]
    (output / "labelled.jsonl.gz").unlink()
    prepare(root, output)
    assert len(cuts_of(output, "labelled")) == 2


def test_equal_input_gives_equal_bytes_whatever_the_jobs(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(root, output)
    first = {name: (output / name).read_bytes() for name in published(output)}
    (output / "summary.json").unlink()
    prepare(root, output, "--jobs", "3")
    assert {name: (output / name).read_bytes() for name in published(output)} == first


def test_another_corpus_is_not_overwritten(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(root, output)
    make_librispeech(tmp_path / "LibriSpeech", {"dev-clean": ["1-2-0000"]})
    with pytest.raises(UserError, match="holds a preparation of 'folder'"):
        cli.main(["librispeech", "--root", str(tmp_path), "--output", str(output)])
    assert len(cuts_of(output, "labelled")) == 2
