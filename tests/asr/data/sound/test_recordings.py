"""Noise: what is found, what is refused before training begins, and which piece of it is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sound_helpers import RATE_HZ, hiss, noise_folder, write_sound

from asr.data.sound.recordings import Recordings
from asr.data_prep.cli import main as prepare
from asr.errors import UserError


def found(*sources: Path | str, directory: Path = Path("nowhere")) -> Recordings:
    return Recordings.found([str(s) for s in sources], directory, RATE_HZ, "noise.sources")


def a_piece(recordings: Recordings, seconds: float, seed: int = 0) -> np.ndarray:
    return recordings.piece(np.random.default_rng(seed), round(seconds * RATE_HZ))


def test_any_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recordings = found(noise_folder(tmp_path / "шум"))
    assert len(recordings) == 5
    assert recordings.hours == pytest.approx((22.3 + 8 * 16_000 / 22_050) / 3600, rel=0.01)
    for seed in range(20):
        piece_N = a_piece(recordings, 2.0, seed)
        assert len(piece_N) == 2 * RATE_HZ
        # Of two channels the second is silent: the mean of both would be half as loud.
        assert 0.07 < piece_N.std() < 0.12
        assert np.array_equal(piece_N, a_piece(recordings, 2.0, seed))
    assert capfd.readouterr().err == "", "libmpg123 complains where MP3 is read from the middle"


def test_a_prepared_set_is_the_folder(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "noise")
    (folder / "d.mp3").unlink()
    assert prepare(["folder", "--root", str(folder), "--output", str(tmp_path / "data")]) == 0
    assert prepare(["shar", "--data", str(tmp_path / "data"), "--sets", "untranscribed"]) == 0
    ours = found(folder)
    for source in ("untranscribed", "untranscribed.shar", tmp_path / "data/untranscribed.jsonl.gz"):
        theirs = found(source, directory=tmp_path / "data")
        assert len(theirs) == len(ours)
        # Preparation makes 16 kHz and one channel; what was so before is the same.
        piece_N = a_piece(theirs, 3.0, 4)
        assert len(piece_N) == 3 * RATE_HZ
        assert piece_N.any()


def test_a_short_recording_is_repeated(tmp_path: Path) -> None:
    short_N = hiss(0.25)
    write_sound(tmp_path / "a.wav", short_N, subtype="FLOAT")
    piece_N = a_piece(found(tmp_path), 1.0)
    assert np.array_equal(piece_N[:4000], piece_N[4000:8000])
    start = int(np.flatnonzero(short_N == piece_N[0])[0])
    assert np.array_equal(np.roll(short_N, -start), piece_N[:4000])


def test_a_piece_is_never_silent(tmp_path: Path) -> None:
    mostly_N = np.zeros(100 * RATE_HZ, np.float32)
    mostly_N[90 * RATE_HZ : 90 * RATE_HZ + 800] = hiss(0.05)
    write_sound(tmp_path / "a.wav", mostly_N)
    recordings = found(tmp_path)
    for seed in range(10):
        assert a_piece(recordings, 0.5, seed).any()


def test_another_rate_is_resampled(tmp_path: Path) -> None:
    time = np.arange(3 * 44_100) / 44_100
    write_sound(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), 44_100)
    spectrum = np.abs(np.fft.rfft(a_piece(found(tmp_path), 1.0)))
    assert spectrum.argmax() == 1000


def empty(folder: Path) -> None:
    folder.mkdir()
    (folder / "README").write_text("nothing")


def silent(folder: Path) -> None:
    write_sound(folder / "ok.wav", hiss(1.0))
    write_sound(folder / "тишина 1.wav", np.zeros(RATE_HZ))


def without_samples(folder: Path) -> None:
    write_sound(folder / "a.wav", np.zeros(0))


def no_audio(folder: Path) -> None:
    folder.mkdir()
    for number in range(5):
        (folder / f"a{number}.mp3").write_bytes(b"no audio" * 100)


def truncated(folder: Path) -> None:
    path = write_sound(folder / "a.flac", hiss(20.0))
    path.write_bytes(path.read_bytes()[:-200_000])


def a_pipe(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "a.wav")


def a_film(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"\x1aE\xdf\xa3" + bytes(9000))


def of_one_hertz(folder: Path) -> None:
    write_sound(folder / "a.wav", hiss(1.0))
    content = (folder / "a.wav").read_bytes()
    (folder / "a.wav").write_bytes(content[:24] + b"\x01\0\0\0" + content[28:])


def linked_to_itself(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.wav").symlink_to(folder / "a.wav")


def not_a_number(folder: Path) -> None:
    audio_N = hiss(1.0)
    audio_N[10] = np.nan
    write_sound(folder / "a.wav", audio_N, subtype="FLOAT")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "is neither a folder nor a prepared set in nowhere"),
        (empty, "no audio under the folder"),
        (silent, "of 2 recordings of {} 1 cannot be used: тишина 1.wav (silent); take"),
        (without_samples, "a.wav (holds no audio)"),
        (no_audio, "5 cannot be used: a0.mp3 (not readable as audio"),
        (truncated, "a.flac ("),
        (a_pipe, "a.wav (not readable as audio (a pipe,"),
        (a_film, "a.wav (not readable as audio (Format not recognised.))"),
        (of_one_hertz, "a.wav (its header says 1 Hz)"),
        (linked_to_itself, "a.wav (not readable as audio ("),
        (not_a_number, "a.wav (holds NaN or infinite samples)"),
    ],
)
def test_what_cannot_be_used_is_named_at_once(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "n"
    make(folder)
    with pytest.raises(UserError) as caught:
        found(folder)
    message = str(caught.value)
    assert message.startswith("noise.sources: ")
    assert said.format(folder) in message
    assert "\n" not in message


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    write_sound(tmp_path / "n/a.wav", hiss(1.0))
    recordings = found(tmp_path / "n")
    shutil.rmtree(tmp_path / "n")
    with pytest.raises(UserError, match=r"n/a\.wav: cannot be read any more"):
        a_piece(recordings, 0.5)


def test_music_is_no_impulse_response(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", hiss(2.0))
    said = r"r: of 1 recordings of .* 1 cannot be used: a\.wav \(longer than 1 s\)"
    with pytest.raises(UserError, match=said):
        Recordings.found([str(tmp_path)], Path("nowhere"), RATE_HZ, "r", most_seconds=1.0)


def test_another_folder_is_noticed(tmp_path: Path) -> None:
    folder = noise_folder(tmp_path / "one")
    before = found(folder).fingerprint
    assert found(shutil.copytree(folder, tmp_path / "two")).fingerprint == before
    write_sound(folder / "new.wav", hiss(1.0))
    assert found(folder).fingerprint != before
