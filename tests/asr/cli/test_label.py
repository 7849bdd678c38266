"""`asr label` from the command line."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import asr_command, read_lines, write_folder
from method_helpers import ledger

from asr.__main__ import main
from asr.data_prep import cli


def label(run: Path, corpus: Path, output: Path) -> list[str]:
    options = ["--data", str(corpus), "--export", "asr", "--batch-seconds", "3"]
    return ["label", str(run), "untranscribed", "--output", str(output), *options]


def test_a_run_labels_a_set_on_two_processes_as_on_one(
    corpus: Path, fluent: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(label(fluent, corpus, one)) == 0
    command = [*asr_command(2), *label(fluent, corpus, two)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "labelled 40 utterances" in done.stdout
    assert ledger(one) == ledger(two)
    assert len(list((two / "journal").glob("rank-*"))) == 2
    lines = read_lines(two / "labels.asr.jsonl")
    assert sum(line["hypothesis"] == line["reference"] for line in lines) > 36
    assert all(0.5 < line["confidence"] <= 1 for line in lines)
    assert main(["labels", "stats", str(two)]) == 0


def test_a_lost_recording_is_said_by_the_status_and_labelled_once_it_is_back(
    fluent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "in", 6, 3, transcribed=False)
    data, away = tmp_path / "data", tmp_path / "away.wav"
    assert cli.main(["folder", "--root", str(tmp_path / "in"), "--output", str(data)]) == 0
    (tmp_path / "in" / "u3-002.wav").rename(away)
    command = [*label(fluent, data, tmp_path / "out"), "--max-lost-share", "0.5"]
    assert main(command) == 2
    said = capsys.readouterr()
    assert "labelled 5 utterances" in said.out
    assert "u3-002.wav (utterance 'u3-002'): cannot be read any more: no such file" in said.out
    assert "1 of 6 utterances cannot be read, and have no label; restore" in said.err
    away.rename(tmp_path / "in" / "u3-002.wav")
    assert main(command) == 0
    assert "labelled 6 utterances" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_each_utterance_once(
    corpus: Path, fluent: Path, tmp_path: Path
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    assert main(label(fluent, corpus, whole)) == 0
    random = np.random.default_rng(1)
    for _ in range(10):
        ranks = int(random.integers(1, 3))
        kill_after([*asr_command(ranks), *label(fluent, corpus, broken)], random.uniform(2, 8))
    assert main(label(fluent, corpus, broken)) == 0
    assert ledger(broken) == ledger(whole)
    assert len({row["utterance"] for row in ledger(broken)}) == len(ledger(broken)) == 40


def kill_after(command: list[str], seconds: float) -> None:
    """SIGKILL a command and the processes that it has started."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        for one in (process, *children):
            one.kill()
    process.wait()


def test_what_cannot_be_labelled_is_said(
    corpus: Path, fluent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    dev, out = str(corpus / "dev.jsonl.gz"), ["--output", str(tmp_path / "out")]
    for arguments, part in (
        ([str(fluent), dev, dev, *out], "occurs twice"),
        ([str(fluent), "nosuch", "--data", str(corpus), *out], "no such set; it has dev"),
        ([str(tmp_path / "empty"), dev, *out], "no model in it"),
        ([str(fluent), dev, "--batch-seconds", "0", *out], "must be more than 0"),
        ([str(fluent), dev, "--normaliser", "nosuch", *out], "normaliser 'nosuch'"),
    ):
        assert main(["label", *arguments]) == 2
        assert part in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
