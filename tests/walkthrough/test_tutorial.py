"""docs/tutorial.md to the letter: a stranger who has folders of audio gets a model, a report and captions."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE_HZ, read_lines, tones, write_folder

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/tutorial.md"
SAMPLE = ROOT.parent / "shared/data/librispeech-sample/LibriSpeech/train-clean-100"
FIFTEEN_MINUTES, DEV, TEST = 72, 20, 30
"""Utterances of the sample; each is of another speaker."""

_spec = importlib.util.spec_from_file_location("walk", Path(__file__).with_name("walk.py"))
assert _spec
assert _spec.loader
walk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(walk)


def check(folder: Path) -> float:
    """What every walk leaves, whatever it heard. Returns the teacher's WER on test, in percent."""
    for run in ("mine", "baseline"):
        assert (folder / "exp" / run / "complete.json").exists()
    assert (folder / "exp/mine/report/index.html").exists()
    results = json.loads((folder / "exp/mine/report/results.json").read_text(encoding="utf-8"))
    assert {"teacher", "supervised"} <= results["sets"]["test"].keys()
    assert "teacher_vs_supervised" in results["paired"]
    captions = (folder / "captions/talk.srt").read_text(encoding="utf-8")
    assert captions.startswith("1\n00:00:")
    return float(results["sets"]["test"]["teacher"]["wer"])


def test_on_tones(tmp_path: Path) -> None:
    """A minute of what a tiny network can learn."""
    write_folder(tmp_path / "my_train", 40, 1, transcribed=True)
    write_folder(tmp_path / "my_train/more", 30, 2, transcribed=False)
    write_folder(tmp_path / "my_dev", 8, 3, transcribed=True)
    write_folder(tmp_path / "my_test", 16, 4, transcribed=True)
    talk = tones("abc deh fgabc", np.random.default_rng(5))
    soundfile.write(tmp_path / "talk.wav", talk, SAMPLE_RATE_HZ)
    printed = walk.walk(TUTORIAL, tmp_path)
    assert check(tmp_path) < 20
    lines = read_lines(tmp_path / "exp/mine/metrics.jsonl")
    assert any(line.get("pseudo_labelled_share") for line in lines)
    assert list((tmp_path / "exp/mine/pseudo_labels").rglob("*.parquet"))
    assert printed["asr transcribe exp/mine talk.wav"].split("\t")[1].strip() == "abc deh fgabc"


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.exists(), reason="no sample of LibriSpeech beside the checkout")
def test_on_librispeech(tmp_path: Path) -> None:
    """Fifteen minutes with transcripts, and half an hour without."""
    files = sorted(SAMPLE.rglob("*.flac"))
    ends = np.cumsum([0, FIFTEEN_MINUTES, DEV, TEST])
    for role, first, last in zip(("my_train", "my_dev", "my_test"), ends, ends[1:], strict=False):
        copy(files[first:last], tmp_path / role, transcribed=True)
    copy(files[ends[-1] :], tmp_path / "my_train/more", transcribed=False)
    samples, rate = soundfile.read(files[-1])
    soundfile.write(tmp_path / "talk.wav", samples, rate)
    walk.walk(TUTORIAL, tmp_path)
    check(tmp_path)
    page = (tmp_path / "exp/mine/report/index.html").read_text(encoding="utf-8")
    assert "<audio" in page  # of the worst utterances


def copy(files: list[Path], folder: Path, transcribed: bool) -> None:
    folder.mkdir(parents=True)
    lines = []
    for file in files:
        shutil.copy(file, folder)
        [texts] = file.parent.glob("*.trans.txt")
        [text] = re.findall(rf"^{file.stem} (.*)$", texts.read_text(encoding="utf-8"), re.MULTILINE)
        lines.append(f"{file.name}\t{text}\n")
    if transcribed:
        (folder / "transcripts.tsv").write_text("".join(lines), encoding="utf-8")
