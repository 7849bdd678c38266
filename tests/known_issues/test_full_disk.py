"""A disk that is full, at whatever a command writes: one line that names the file, and nothing of it stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE_HZ, asr_command, read_lines, tones

from asr.__main__ import main
from asr.data.dataset import SpeechSet


def _mount(folder: Path, size: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """disk(SIZE): a file system of this size; again for another size of the same."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or not _mount(folder, "8k"):
        pytest.skip("needs root, to mount a small disk")

    def sized(size: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
        return folder

    yield sized
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Some that are converted: of another rate."""
    root = tmp_path / "in"
    root.mkdir()
    random, lines = np.random.default_rng(0), []
    for number in range(3):
        samples = tones("abc de fgh abc de fgh", random)
        soundfile.write(root / f"u{number}.wav", samples, SAMPLE_RATE_HZ // 2)
        lines.append(f"u{number}\tabc\n")
    (root / "transcripts.tsv").write_text("".join(lines))
    return root


def commands(root: Path, disk: Path, trained: Path, corpus: Path) -> dict[str, list[str]]:
    dev = str(corpus / "dev.jsonl.gz")
    return {
        "prepare": ["prepare", "folder", "--root", str(root), "--output", str(disk / "out")],
        "shar": [
            *("prepare", "shar", "--data", str(corpus), "--sets", "dev"),
            *("--output", str(disk / "out")),
        ],
        "lm": [
            *("prepare", "lm", "--cuts", str(corpus / "labelled.jsonl.gz")),
            *("--output", str(disk / "lm.arpa")),
        ],
        "decode": ["decode", str(trained), dev, "--output", str(disk / "hyp.jsonl")],
        "transcribe": [
            *("transcribe", str(trained), *map(str, sorted(root.glob("*.wav")))),
            *("--format", "json", "--output-dir", str(disk / "out")),
        ],
        "label": ["label", str(trained), "dev", "--data", str(corpus), "--output", str(disk / "o")],
        "report": ["report", str(trained), "--no-audio", "--output", str(disk / "report")],
        "recipes": ["recipes", "copy", "festvox_ru", str(disk / "copies")],
        "export": ["export", str(trained), "--to", "torch", "--output", str(disk / "export")],
        "segment": [
            *("prepare", "segment", "--root", str(root), "--vad", "energy"),
            *("--output", str(disk / "out")),
        ],
        "fork": [
            *("fork", str(trained), "--at", "0.05", "--output", str(disk / "fork")),
            "trainer.total_hours=0.06",
        ],
    }


def fill(folder: Path) -> None:
    """What room there is goes to a file `rest`."""
    with (folder / "rest").open("wb") as rest:
        there = os.statvfs(folder)
        rest.write(bytes(there.f_bavail * there.f_frsize))


def expect_no_room(command: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It ends with status 2, and what it says of the full disk names a place there."""
    status = main(command)
    said = capfd.readouterr().err
    assert status == 2, said
    lines = [line for line in said.splitlines() if "No space left on device" in line]
    assert lines, said
    assert all(str(folder) in line for line in lines), said
    assert "Traceback" not in said
    assert "ignored" not in said


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("prepare", "4k"), ("prepare", "12k"), ("shar", "12k"), ("decode", "4k")),
        *(("lm", "4k"), ("transcribe", "4k"), ("label", "4k"), ("report", "12k")),
        ("recipes", "4k"),
        # torch's own writer ended the process with SIGABRT.
        pytest.param("export", "64k", marks=pytest.mark.slow),
        pytest.param("segment", "4k", marks=pytest.mark.slow),
        pytest.param("fork", "8k", marks=pytest.mark.slow),
        pytest.param("fork", "200k", marks=pytest.mark.slow),
    ],
)
def test_a_command_says_where_its_disk_is_full(
    disk: Callable[[str], Path],
    recordings: Path,
    trained: Path,
    corpus: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    size: str,
) -> None:
    folder = disk(size)
    command = commands(recordings, folder, trained, corpus)[name]
    expect_no_room(command, folder, capfd)
    disk("60m")
    assert main(command) == 0, capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["features", "average", "labels"])
def test_a_command_that_writes_little_says_so_too(
    disk: Callable[[str], Path],
    corpus: Path,
    recipe: Path,
    trained: Path,
    capfd: pytest.CaptureFixture[str],
    command: str,
) -> None:
    folder = disk("60m")
    shutil.copy(corpus / "dev.jsonl.gz", folder)
    features = ["prepare", "features", "--data", str(folder), "--sets", "dev"]
    words = {
        "features": features,
        "average": ["average", f"{folder}/run", "--half-life", "0.02"],
        "labels": ["labels", "export", str(trained), "--to", "tsv", "--output", f"{folder}/labels"],
    }
    if command == "average":
        kept = [f"output={folder}/run", "teacher.keep_for_average=true", "trainer.total_hours=0.03"]
        assert main(["train", str(recipe), *kept, "pseudo_label.start_hours=null"]) == 0
    fill(folder)
    capfd.readouterr()
    expect_no_room(words[command], folder, capfd)
    (folder / "rest").unlink()
    assert main(words[command]) == 0, capfd.readouterr().err


def test_a_manifest_s_index_finds_another_place(
    disk: Callable[[str], Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = disk("64k")
    manifest = Path(shutil.copy(corpus / "dev.jsonl.gz", folder))
    fill(folder)
    assert len(SpeechSet.load(manifest)) == len(SpeechSet.load(corpus / "dev.jsonl.gz"))
    assert list((tmp_path / "cache").rglob("index.json"))


SUPERVISED = ["pseudo_label.start_hours=null", "trainer.total_hours=0.03"]


@pytest.mark.parametrize(
    "size", ["24k", *(pytest.param(size, marks=pytest.mark.slow) for size in ("8k", "40k", "300k"))]
)
def test_a_training_ends_in_one_line_and_goes_on_with_room(
    disk: Callable[[str], Path], recipe: Path, size: str
) -> None:
    folder = disk(size)
    command = [*asr_command(), "train", str(recipe), f"output={folder}/run", *SUPERVISED]
    full = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert full.returncode == 2, full.stderr
    assert "Traceback" not in full.stderr
    [line] = [line for line in full.stderr.splitlines() if line.startswith("asr train: ")]
    assert f"{folder}/run" in line
    disk("60m")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    steps = [line["step"] for line in read_lines(folder / "run/metrics.jsonl") if "loss" in line]
    assert steps == sorted(set(steps)) == list(range(1, len(steps) + 1))
