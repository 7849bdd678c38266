from __future__ import annotations

import struct
from pathlib import Path

import pytest
from data_prep_helpers import cut_short, make_bad_files, write_audio
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data_prep.validate import check_audio, check_id, check_text


def reason(path: Path) -> str | None:
    fault = check_audio(path).fault
    return fault.reason if fault else None


def test_a_sound_file_is_measured(tmp_path: Path) -> None:
    check = check_audio(write_audio(tmp_path / "a.wav", seconds=0.5, rate_hz=8000, channels=2))
    assert (check.sample_rate_hz, check.channels, check.samples) == (8000, 2, 4000)
    assert check.fault is None
    assert check.needs_conversion


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_plain_files_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    assert not check_audio(write_audio(tmp_path / name)).needs_conversion


def test_each_reason(tmp_path: Path) -> None:
    for name, expected in make_bad_files(tmp_path).items():
        (path,) = tmp_path.glob(f"{name}.*")
        assert reason(path) == expected
    assert reason(write_audio(tmp_path / "header_only.wav", seconds=0)) == "empty"
    assert reason(tmp_path / "absent.wav") == "missing_audio"
    assert reason(tmp_path) == "unreadable"


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.1, 0.99), name=st.sampled_from(["a.wav", "a.flac"]))
def test_any_truncation_is_found(
    tmp_path_factory: pytest.TempPathFactory, share: float, name: str
) -> None:
    path = write_audio(tmp_path_factory.mktemp("cut") / name, seconds=0.5)
    assert reason(cut_short(path, share)) == "truncated"


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_has_no_stated_length(tmp_path: Path, length: int) -> None:
    path = write_audio(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    assert reason(path) is None


def test_text_faults() -> None:
    assert check_text("AB A", "AB") is None
    assert check_text("anything ё", None) is None
    assert check_text("  ", None).reason == "empty_text"  # type: ignore[union-attr]
    assert check_text("ABC", "AB").reason == "text_characters"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["", " a", "a\tb", "a\nb", "../a", "a/../b", "/a", "\udc80"])
def test_ids_that_cannot_name_a_file(name: str) -> None:
    assert check_id(name) is not None


@pytest.mark.parametrize("name", ["a", "a/b c", "ё-1", "a..b"])
def test_ids_that_can(name: str) -> None:
    assert check_id(name) is None
