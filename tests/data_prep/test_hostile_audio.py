"""Files that are no audio, or not the audio that they say: what `folder` and `segment` make of each."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from data_prep_helpers import cut_short, cuts_of, rejects_of, write_audio

from asr.data_prep import cli

RATE_HZ = 16_000


def wav(path: Path, rate_hz: int = RATE_HZ, channels: int = 1, promised: int | None = None) -> None:
    """A second of a tone, with a header that says what it is told to."""
    tone = (8000 * np.sin(np.arange(RATE_HZ) / 8)).astype("<i2").tobytes()
    size = len(tone) if promised is None else promised
    rate = struct.pack("<HHIIHH", 1, channels, rate_hz, 2 * rate_hz % 2**32, 2, 16)
    whole = (36 + size) % 2**32
    head = b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + struct.pack("<I", 16) + rate
    path.write_bytes(head + b"data" + struct.pack("<I", size) + tone)


def header_alone(path: Path) -> None:
    wav(path, promised=0)
    path.write_bytes(path.read_bytes()[:44])


def floats(value: float, subtype: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        samples = np.zeros(RATE_HZ)
        samples[100] = value
        soundfile.write(path, samples, RATE_HZ, subtype=subtype)

    return write


def claims_hours(path: Path) -> None:
    """FLAC whose header has the largest number of samples that there is."""
    soundfile.write(path, talk(1.0), RATE_HZ)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(bytes(content))


def short_of(seconds: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        soundfile.write(path, talk(seconds), RATE_HZ)
        cut_short(path)

    return write


def bytes_of(content: bytes) -> Callable[[Path], None]:
    return lambda path: void(path.write_bytes(content))


def void(_: Any) -> None:
    pass


def talk(seconds: float) -> Any:
    """Bursts with pauses, which are speech by energy."""
    random = np.random.default_rng(7)
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return 0.1 * random.standard_normal(len(time)) * (np.sin(4 * time) > 0)


def sound(seconds: float, **how: Any) -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, talk(seconds), RATE_HZ, **how)


def steady(level: float) -> Callable[[Path], None]:
    random = np.random.default_rng(7)
    return lambda path: soundfile.write(
        path, level * random.standard_normal(90 * RATE_HZ), RATE_HZ, subtype="PCM_16"
    )


FILES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    # Name: how it is made; the reason of `folder`; that of `segment`. Empty: it is kept.
    "nothing.wav": (Path.touch, "empty", "empty"),
    "header.wav": (header_alone, "empty", "empty"),
    "huge header.wav": (lambda path: wav(path, promised=2_000_000_000), "truncated", "truncated"),
    "from a pipe.wav": (lambda path: wav(path, promised=2**32 - 1), "", "no_speech"),
    "no channels.wav": (lambda path: wav(path, channels=0), "unreadable", "unreadable"),
    "no rate.wav": (lambda path: wav(path, rate_hz=0), "unreadable", "unreadable"),
    "two gigahertz.wav": (lambda path: wav(path, rate_hz=2**31 - 1), "odd_rate", "odd_rate"),
    "a hertz.wav": (lambda path: wav(path, rate_hz=1), "odd_rate", "odd_rate"),
    "hours.flac": (claims_hours, "truncated", "truncated"),
    "short.flac": (short_of(4), "truncated", "truncated"),
    "film.wav": (bytes_of(b"\x1aE\xdf\xa3" + bytes(9000)), "unreadable", "unreadable"),
    "clip.wav": (bytes_of(b"\0\0\0\x18ftypmp42" + bytes(9000)), "unreadable", "unreadable"),
    "letter.mp3": (bytes_of(b"Dear Sir,\n" * 500), "unreadable", "unreadable"),
    "tag.mp3": (bytes_of(b"ID3\x04\0\0\0\0\x0f\x76" + bytes(2038)), "unreadable", "unreadable"),
    "zeros.flac": (bytes_of(bytes(9000)), "unreadable", "unreadable"),
    "nan.wav": (floats(np.nan, "FLOAT"), "non_finite", "non_finite"),
    "infinite.wav": (floats(-np.inf, "FLOAT"), "non_finite", "non_finite"),
    "beyond float32.wav": (floats(1e300, "DOUBLE"), "non_finite", "non_finite"),
    "one sample.wav": (sound(1 / RATE_HZ), "", "no_speech"),
    "silence.flac": (steady(0.0), "", "no_speech"),
    "noise.flac": (steady(0.1), "", "no_speech"),
    "eight channels.wav": (
        lambda path: void(write_audio(path, 0.5, 192_000, 8)),
        "",
        "no_speech",
    ),
    "a pipe.wav": (os.mkfifo, "empty", "empty"),
    "no end.wav": (lambda path: path.symlink_to("/dev/zero"), "empty", "empty"),
    "to itself.wav": (lambda path: path.symlink_to(path), "unreadable", "unreadable"),
    "gone.wav": (lambda path: path.symlink_to("/none.wav"), "missing_audio", "missing_audio"),
    "two\nlines.wav": (sound(6), "id_characters", "id_characters"),
    "a flac.mp3": (sound(6, format="FLAC"), "", ""),
    "deep/с пробелом.wav": (sound(6), "", ""),
    "twice.flac": (sound(6), "", ""),
    "twice.wav": (sound(6), "duplicate_id", ""),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of them, prepared into folder/ and segment/ beside it."""
    base = tmp_path_factory.mktemp("hostile")
    for name, (write, *_) in FILES.items():
        path = base / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    for command in ("folder", "segment"):
        more = ["--vad", "energy"] if command == "segment" else []
        arguments = [command, "--root", str(base / "in"), "--output", str(base / command), *more]
        assert cli.main([*arguments, "--jobs", "1", "--max-reject-share", "1"]) == 0
    return base


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["folder", "segment"])
def test_each_file_is_kept_or_has_its_reason(hostile: Path, name: str, command: str) -> None:
    reason = FILES[name][1 if command == "folder" else 2]
    path = str(hostile / "in" / name)
    found = [line for line in rejects_of(hostile / command) if line["path"] == path]
    assert [line["reason"] for line in found] == ([reason] if reason else [])
    assert all(line["detail"] and "\n" not in line["detail"] for line in found)
    stem = name.rpartition(".")[0]
    ids = {cut.id for cut in cuts_of(hostile / command, "untranscribed")}
    if command == "segment":
        known = name if stem == "twice" else stem
        assert any(one.rpartition("-")[0].rpartition("-")[0] == known for one in ids) is (
            not reason
        )
    elif reason != "duplicate_id":
        assert (stem in ids) is (not reason)
