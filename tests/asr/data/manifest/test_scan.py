"""A manifest is scanned alike by one process and by several."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest
from manifest_helpers import line, write

from asr.data.dataset import SpeechSet
from asr.data.manifest import scan as manifest_scan
from asr.data.manifest.index import open_index
from asr.errors import UserError


def in_blocks(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """A block for every few lines, the first one parsed by this process."""
    monkeypatch.setattr(manifest_scan, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(manifest_scan, "_PACKED_BYTES", 100)
    monkeypatch.setattr(manifest_scan, "_ALONE_BYTES", 1000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))


def found_in(manifest: Path) -> tuple[object, ...]:
    index = open_index(manifest)
    names = ("starts", "lengths", "seconds", "keys", "has_text")
    arrays = [getattr(index, name).tolist() for name in names]
    records = [index.record(row) for row in range(len(index))]
    return arrays, records, index.characters, index.rates, index.rejects


@pytest.mark.parametrize("executable", [sys.executable, "/bin/false", "/no/such/file"])
def test_processes_find_what_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    """Also where they die at once, or cannot be started."""
    names = [f"{i * 7919 % 1000:03d}-\u0436" for i in range(200)]
    lines = [
        line(name, 1 + i, f"\u0430{chr(97 + i % 26)} x" if i % 5 else None, 16_000 + i // 150)
        for i, name in enumerate(names)
    ]
    lines[50] += "\n \n"
    lines[120] = line(names[120], text="z" * 5000)
    lines[-1] = lines[-1].rstrip()
    for folder in ("one", "several"):
        (tmp_path / folder).mkdir()
    suffixes = (".jsonl", ".jsonl.gz")
    one = [found_in(write(tmp_path / f"one/a{suffix}", lines)) for suffix in suffixes]
    in_blocks(monkeypatch, cores=3)
    monkeypatch.setattr(sys, "executable", executable)
    for suffix, expected in zip(suffixes, one, strict=True):
        assert found_in(write(tmp_path / f"several/a{suffix}", lines)) == expected
    assert one[0][1] == one[1][1]
    assert list(one[0][3].items()) == [(16_000, names[0]), (16_001, names[150])]  # type: ignore[attr-defined]


@pytest.mark.parametrize("cores", [1, 3])
def test_a_bad_line_is_named_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    in_blocks(monkeypatch, cores)
    lines = [line(f"u{i}") for i in range(100)]
    lines[70] = '{"id": "u70", "duration": "long"}\n'
    with pytest.raises(UserError, match="line 71: ValueError: could not convert"):
        open_index(write(tmp_path / "a.jsonl.gz", ["\n", *lines]))


def test_gzip_files_that_were_joined(tmp_path: Path) -> None:
    parts = [gzip.compress(line(name).encode()) for name in "yxz"]
    (tmp_path / "a.jsonl.gz").write_bytes(parts[0] + parts[1] + bytes(20) + parts[2] + bytes(7))
    assert list(SpeechSet.load(tmp_path / "a.jsonl.gz").ids) == ["x", "y", "z"]
    damaged = bytearray(parts[0])
    damaged[-6] ^= 1  # of the checksum
    (tmp_path / "b.jsonl.gz").write_bytes(bytes(damaged))
    with pytest.raises(UserError, match="not a readable manifest"):
        open_index(tmp_path / "b.jsonl.gz")
