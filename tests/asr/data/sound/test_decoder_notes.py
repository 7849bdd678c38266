"""A damaged MP3 is named in one line, and what others write to stderr comes out."""

from __future__ import annotations

import os
import random
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import Recording

from asr.data.reading import load_samples
from asr.data.sound import decoder_notes
from asr.data.sound.decoder_notes import folded
from asr.errors import LostAudioError


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_notes, "_FOLD", decoder_notes._Fold())


def damaged(path: Path, seed: int) -> Path:
    """A second or two in MP3 with some bytes changed."""
    tone = 0.2 * np.sin(np.cumsum(np.full(32_000, 0.1)))
    soundfile.write(path, tone, 16_000, format="MP3")
    content, draw = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(40):
        content[draw.randrange(1500, len(content))] = draw.randrange(256)
    path.write_bytes(content)
    return path


def test_each_damaged_file_is_one_line_and_not_all_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cuts = [Recording.from_file(damaged(tmp_path / f"{n}.mp3", n)).to_cut() for n in range(6)]
    capfd.readouterr()  # of Lhotse's own look
    for cut in [*cuts, *cuts]:
        with suppress(LostAudioError):
            load_samples(cut)
    lines = capfd.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4, lines
    assert all(line.startswith("note: ") for line in lines), lines
    assert f"{tmp_path / '0.mp3'}: its MP3 decoder warns (" in lines[0]


def test_what_others_write_comes_out_whatever_ends_first(capfd: pytest.CaptureFixture[str]) -> None:
    begun, ended = threading.Event(), threading.Event()

    def beside() -> None:
        with folded("other.mp3"):
            begun.set()
            ended.wait(10)
            os.write(2, b"half of a ")

    thread = threading.Thread(target=beside)
    with folded("one.mp3"):
        thread.start()
        begun.wait(10)
        os.write(2, b"progress\nNote: Trying to resync...\n")
    said = capfd.readouterr().err
    assert said.splitlines()[0] == "progress"
    assert "one.mp3 or other.mp3" in said
    assert "Note: Trying" not in said.replace("(Note: Trying", "")
    ended.set()
    thread.join()
    os.write(2, b"line\n")
    assert capfd.readouterr().err == "half of a line\n"
    with pytest.raises(KeyError), folded("one.mp3"):
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
