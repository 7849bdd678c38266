"""Folders as they are: output among the recordings, links, closed folders, names, headers, rates."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from data_prep_helpers import cuts_of

from asr.__main__ import main
from asr.data_prep.corpora.walk import Walk, walk
from asr.data_prep.validate import check_audio

RATE = 16_000


def sound(path: Path, seconds: float = 0.5, rate: int = RATE, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = np.random.default_rng(0).standard_normal(round(seconds * rate)) / 9
    soundfile.write(path, audio, rate, **how)
    return path


def prepare(root: Path, output: Path, *options: str) -> int:
    return main(["prepare", "folder", "--root", str(root), "--output", str(output), *options])


def ids(output: Path, name: str = "untranscribed") -> list[str]:
    return [cut.id for cut in cuts_of(output, name)]


def rejects(output: Path) -> dict[str, str]:
    lines = (output / "rejects.jsonl").read_text().splitlines()
    return {line["id"]: line["reason"] for line in map(json.loads, lines)}


@pytest.mark.parametrize("root", ["data/audio", "data/audio/mine", "data"])
def test_preparation_does_not_eat_its_own_output(tmp_path: Path, root: str) -> None:
    folder, output = tmp_path / root, tmp_path / "data"
    if root == "data":
        output = tmp_path / "data/out"
    for number in range(3):
        sound(folder / f"{number}.ogg")
    options = ["--set-name", "mine"] if root.endswith("mine") else []
    name = "mine-untranscribed" if options else "untranscribed"
    assert prepare(folder, output, *options) == 0
    first = ids(output, name)
    assert first == ["0", "1", "2"]
    sound(folder / "new.ogg")
    assert prepare(folder, output, *options) == 0
    assert ids(output, name) == [*first, "new"]
    # Of another output either.
    assert prepare(tmp_path, tmp_path.parent / f"{tmp_path.name}-all", *options) == 0
    assert len(ids(tmp_path.parent / f"{tmp_path.name}-all", name)) == 4


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "in"
    sound(tmp_path / "disk/a/1.wav")
    sound(root / "z/2.wav")
    (root / "linked").symlink_to(tmp_path / "disk/a")
    (root / "again").symlink_to(tmp_path / "disk/a")
    (root / "a-loop").symlink_to(root)
    (root / "z/loop").symlink_to(root / "z")
    (root / "to-z").symlink_to(root / "z")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    assert prepare(root, tmp_path / "out") == 0
    assert ids(tmp_path / "out") == ["again/1", "z/2"]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "in"
    sound(root / "a/1.wav")
    sound(root / "b/2.wav")
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if isinstance(path, Path) and path.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may list everything
    assert walk(root, tmp_path / "out").unreadable == [(root / "b", "Permission denied")]
    assert prepare(root, tmp_path / "out") == 0
    assert rejects(tmp_path / "out") == {"b": "unreadable_folder"}


def test_names_cost_no_more_than_their_file(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for name in ("plain", "y" * 245, "𠀀" * 62, "z" * 245 + "1", "z" * 245 + "2"):
        sound(root / f"{name}.ogg")
    os.rename(sound(root / "plain.wav"), os.fsencode(root) + b"/H\xf6r.wav")
    (root / "._plain.ogg").write_bytes(b"\0\x05\x16\x07" + bytes(100))
    sound(root / "._real.wav")
    assert prepare(root, output) == 0
    found = {"plain", "y" * 245, "𠀀" * 62, "z" * 245 + "1", "z" * 245 + "2", "._real"}
    assert {*ids(output)} == found
    assert sorted(rejects(output).values()) == ["id_characters", "no_recording"]
    for cut in cuts_of(output, "untranscribed"):
        assert Path(cut.recording.sources[0].source).is_file()


def test_a_root_that_is_not_utf_8_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound(tmp_path / "in/1.wav")
    os.rename(tmp_path / "in", os.fsencode(tmp_path) + b"/H\xf6rspiele")
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/H\xf6rspiele"))
    assert prepare(root, tmp_path / "out") == 2
    assert "path_characters 1" in capsys.readouterr().err
    assert rejects(tmp_path / "out") == {"1": "path_characters"}


def test_transcripts_of_another_case_or_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    for name in ("caf\u00e9", "UPPER", "sub/dot", "two", "Two", "path"):
        sound(root / f"{name}.wav")
    rows = ("path\ttext", "cafe\u0301\ta", "upper.WAV\tb", "./sub/dot\tc", "TWO\td", "uper\te")
    (root / "transcripts.tsv").write_text("\n".join(rows))
    assert prepare(root, tmp_path / "out") == 0
    assert {*ids(tmp_path / "out", "labelled")} == {"path", "caf\u00e9", "UPPER", "sub/dot"}
    assert rejects(tmp_path / "out") == {"TWO": "missing_audio", "uper": "missing_audio"}
    said = capsys.readouterr().out
    assert "matched but for upper and lower case: 'upper.WAV' is 'UPPER.wav'" in said
    assert "the nearest is 'UPPER'" in (tmp_path / "out/rejects.jsonl").read_text()


def stated(kind: str, samples: int) -> Callable[[Path], None]:
    """A header that says something else."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if kind == "WAV":
            content[40:44] = struct.pack("<I", 2 * samples)
        elif kind == "AIFF":
            at = content.index(b"SSND")
            content[at + 4 : at + 8] = struct.pack(">I", 2 * samples + 8)
        elif kind == "AU":
            content[8:12] = struct.pack(">I", 2 * samples)
        else:
            own = int.from_bytes(content[21:26], "big") & ~0xF_FFFF_FFFF
            content[21:26] = (own | samples).to_bytes(5, "big")
        path.write_bytes(content)

    return change


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "FLAC"])
def test_a_header_is_not_believed(tmp_path: Path, kind: str) -> None:
    whole = sound(tmp_path / f"a.{kind.lower()}", 3.0, format=kind, subtype="PCM_16")
    assert check_audio(whole).fault is None
    content = whole.read_bytes()
    for samples, reason in ((RATE, "longer_than_stated"), (RATE * 4, "truncated")):
        whole.write_bytes(content)
        stated(kind, samples)(whole)
        fault = check_audio(whole).fault
        assert fault is not None
        assert fault.reason == reason
    if kind != "FLAC":  # none at all is stated by 0 there
        stated(kind, 0)(whole)
        assert check_audio(whole).fault is not None
    if kind == "WAV":  # and what follows may be more of the kind
        whole.write_bytes(content + b"LIST" + struct.pack("<I", 10) + b"INFOabcdef")
        assert check_audio(whole).fault is None
        stated(kind, 0x7FFF_FFFF)(whole)  # a stream
        assert check_audio(whole).fault is None


def test_loud_floats_are_not_clipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    tone = np.sin(np.arange(48_000) / 9)
    for rate in (16_000, 48_000):
        for name, gain in (("int16", 32_767.0), ("loud", 3.0), ("plain", 0.5)):
            path = root / f"{name}-{rate}.wav"
            soundfile.write(path, (gain * tone).astype(np.float32), rate, subtype="FLOAT")
    assert prepare(root, output) == 0
    for cut in cuts_of(output, "untranscribed"):
        audio, _ = soundfile.read(cut.recording.sources[0].source)
        assert np.mean(np.abs(audio) > 0.9999) < 0.02
        assert np.abs(audio).max() > 0.45
    sets = json.loads((output / "summary.json").read_text())["sets"]
    assert sets["untranscribed"]["made_quieter"] == 4
    assert "4 recordings that go beyond full scale" in capsys.readouterr().out


def test_rates_that_share_no_divisor_take_no_memory(tmp_path: Path) -> None:
    for rate in (8_011, 22_257):
        n = np.arange(rate)
        tone = 0.3 * np.sin(2 * np.pi * 440 * n / rate)
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"in/{rate}.wav", tone, rate, subtype="FLOAT")
    command = ["prepare", "folder", "--root", str(tmp_path / "in"), "--jobs", "1"]
    command += ["--output", str(tmp_path / "out")]

    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))

    done = subprocess.run(
        [sys.executable, "-m", "asr", *command], preexec_fn=little_memory, check=False
    )
    assert done.returncode == 0
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    for cut in cuts_of(tmp_path / "out", "untranscribed"):
        audio, rate = soundfile.read(cut.recording.sources[0].source)
        assert (len(audio), rate) == (RATE, RATE)
        assert np.abs(audio - expected)[500:-500].max() < 1e-3


def test_a_walk_says_what_it_leaves_out(tmp_path: Path) -> None:
    assert Walk(own=3).notes() == [
        "3 files that preparation has converted are no recordings: not listed"
    ]
    assert not Walk().notes()
