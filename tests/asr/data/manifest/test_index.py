"""Manifests opened by an index: what is read is what the manifest says, and a changed file is seen."""

from __future__ import annotations

import errno
import gzip
import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet

from asr.data.dataset import SpeechSet
from asr.data.manifest import scan as manifest_scan
from asr.data.manifest.index import open_index
from asr.errors import UserError


def line(name: str, seconds: float = 1.5, text: str | None = "a b", rate: int = 16_000) -> str:
    supervision = {"id": name, "recording_id": name, "start": 0.0, "duration": seconds}
    record = {
        "id": name,
        "start": 0.0,
        "duration": seconds,
        "channel": 0,
        "supervisions": [] if text is None else [{**supervision, "channel": 0, "text": text}],
        "recording": {
            "id": name,
            "sources": [{"type": "file", "channels": [0], "source": f"/{name}.wav"}],
            "sampling_rate": rate,
            "num_samples": round(seconds * rate),
            "duration": seconds,
            "channel_ids": [0],
        },
        "type": "MonoCut",
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def write(path: Path, lines: list[str]) -> Path:
    content = "".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=1, unique=True)
)
def test_it_reads_what_the_manifest_says(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("index")
    lines = [line(name, 1 + i / 7, f"text {name}") for i, name in enumerate(names)]
    for manifest in (write(folder / "a.jsonl.gz", lines), write(folder / "b.jsonl", lines)):
        speech = SpeechSet.load(manifest)
        assert list(speech.ids) == sorted(names)
        by_id = dict(zip(names, lines, strict=True))
        for place, cut in enumerate(speech.cuts):
            record = json.loads(by_id[cut.id])
            assert cut.to_dict() == record
            assert speech.references[place] == record["supervisions"][0]["text"].strip()
            assert speech.seconds[place] == record["duration"]
        assert set(speech.characters) == set("".join(s.strip() for s in speech.references))


def test_lhotse_reads_the_same(corpus: Path) -> None:
    manifest = corpus / "labelled.jsonl.gz"
    theirs = sorted(CutSet.from_file(manifest), key=lambda cut: cut.id)
    assert list(SpeechSet.load(manifest).cuts) == theirs


def test_a_changed_manifest_is_indexed_anew(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a.jsonl.gz", [line("x"), line("y")])
    first = open_index(manifest)
    [made] = (tmp_path / ".index").glob("a-*/index.json")
    before = made.stat().st_mtime_ns
    assert len(first) == 2
    assert len(open_index(manifest)) == 2
    assert made.stat().st_mtime_ns == before
    write(manifest, [line("x"), line("z"), line("y")])
    assert [open_index(manifest).record(row)["id"] for row in range(3)] == ["x", "y", "z"]
    # What was opened before goes on with what it had.
    assert first.record(1)["id"] == "y"
    [seconds] = (tmp_path / ".index").glob("a-*/seconds.npy")
    seconds.write_bytes(b"")
    assert len(open_index(manifest)) == 3


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a.jsonl.gz", [line("x")])
    open_index(manifest)
    [made] = (tmp_path / ".index").glob("a-*/")
    left = made.rename(made.with_name(f".partial-{made.name}-x"))
    assert len(open_index(manifest)) == 1
    assert not left.exists()


def test_it_travels_to_workers(tmp_path: Path) -> None:
    speech = SpeechSet.load(write(tmp_path / "a.jsonl.gz", [line("x"), line("y")]))
    assert speech.cuts[0].id == "x"
    assert [cut.id for cut in pickle.loads(pickle.dumps(speech)).cuts] == ["x", "y"]


def test_sets_cut_and_sliced(tmp_path: Path) -> None:
    lines = [line(f"u{i}", 1.0 + i, None if i == 3 else "a") for i in range(6)]
    speech = SpeechSet.load(write(tmp_path / "a.jsonl.gz", lines))
    kept = speech.within(2.0, 5.0)
    assert list(kept.ids) == ["u1", "u2", "u3", "u4"]
    assert kept.without_text().tolist() == [2]
    assert list(kept.references[1:]) == ["a", "", "a"]
    assert np.array_equal(kept.keys, speech.keys[1:5])
    (tmp_path / "references").mkdir()
    (tmp_path / "references/a.tsv").write_text("u3\tkept aside\nu1\tanother\n")
    aside = SpeechSet.load(tmp_path / "a.jsonl.gz")
    assert aside.without_text().tolist() == []
    assert list(aside.references[1:4]) == ["another", "a", "kept aside"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOLCK])
def test_a_folder_that_others_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "theirs").mkdir()
    manifest = write(tmp_path / "theirs/a.jsonl.gz", [line("x")])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real = os.mkdir

    def refuse(path: str, *rest: object, **named: object) -> None:
        if str(path).startswith(str(tmp_path / "theirs")):
            raise OSError(number, "no", str(path))
        real(path, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "mkdir", refuse)
    for _ in range(2):
        assert open_index(manifest).record(0)["id"] == "x"
    assert not (tmp_path / "theirs/.index").exists()
    assert len(list((tmp_path / "cache").rglob("index.json"))) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no gzip", "not gzip"),
        (gzip.compress(line("x").encode())[:-20], "not a readable manifest"),
        (gzip.compress(b'{"id": "x"}\n'), "line 1: KeyError: 'duration'"),
        (gzip.compress((line("x") + "[]\n").encode()), "line 2: AttributeError"),
        (gzip.compress(line("x").replace("MonoCut", "MixedCut").encode()), "a MixedCut"),
        (gzip.compress(b"\n"), "holds no utterances"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        open_index(path)
    assert not list((tmp_path / ".index").glob("a-*/"))
    assert not list((tmp_path / ".index").glob(".partial-*"))


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


def test_what_json_reads_and_the_fast_parser_does_not(tmp_path: Path) -> None:
    surrogate = line("x").replace("/x.wav", "/\\udcff.wav")
    index = open_index(write(tmp_path / "a.jsonl.gz", [surrogate, "\ufeff" + line("y")]))
    assert index.record(0)["recording"]["sources"][0]["source"] == "/\udcff.wav"
    assert index.record(1)["id"] == "y"
    with pytest.raises(UserError, match="line 1: UnicodeEncodeError"):
        open_index(
            write(tmp_path / "b.jsonl.gz", [line("x", text="a").replace('"a"', '"\\udcff"')])
        )
    with pytest.raises(UserError, match="line 1: AttributeError"):
        open_index(write(tmp_path / "c.jsonl.gz", [line("x").replace('"x"', "7")]))
