"""An index reads what the manifest says, and sees that it changed."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import asr_command
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_helpers import line, write

from asr.data.dataset import SpeechSet
from asr.data.manifest.index import open_index
from asr.errors import UserError


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


def test_a_changed_manifest_is_indexed_again(tmp_path: Path) -> None:
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


def flip(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_of_an_index_is_not_believed(tmp_path: Path) -> None:
    """Arrays are made again; of the copied lines the damaged one is named, and the remedy works."""
    manifest = write(tmp_path / "a.jsonl.gz", [line("x", 2.0), line("y", 3.0)])
    before = open_index(manifest).seconds.tolist()
    [folder] = (tmp_path / ".index").glob("a-*/")
    for name in ("seconds", "starts", "keys", "has_text"):
        flip(folder / f"{name}.npy")
    assert open_index(manifest).seconds.tolist() == before == [2.0, 3.0]
    lines = folder / "lines.jsonl"
    index = open_index(manifest)
    flip(lines, lines.read_bytes().index(b"3.0"))  # noticed when it is opened again, or read
    assert index.record(0)["duration"] == 2.0
    with pytest.raises(UserError, match=rf"lines.jsonl: damaged.*delete {folder}, which is made"):
        index.record(1)
    shutil.rmtree(folder)
    assert open_index(manifest).record(1)["duration"] == 3.0


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a.jsonl.gz", [line("x")])
    open_index(manifest)
    [made] = (tmp_path / ".index").glob("a-*/")
    left = made.rename(made.with_name(f".partial-{made.name}-x"))
    assert len(open_index(manifest)) == 1
    assert not left.exists()


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
        (gzip.compress(line("x").encode(), mtime=0)[:-20], "not a readable manifest"),
        (gzip.compress(b'{"id": "x"}\n', mtime=0), "line 1: KeyError: 'duration'"),
        (gzip.compress((line("x") + "[]\n").encode(), mtime=0), "line 2: AttributeError"),
        (gzip.compress(line("x").replace("MonoCut", "MixedCut").encode(), mtime=0), "a MixedCut"),
        (gzip.compress(b"\n", mtime=0), "holds no utterances"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        open_index(path)
    assert not list((tmp_path / ".index").glob("a-*/"))
    assert not list((tmp_path / ".index").glob(".partial-*"))


def test_a_missing_set_lists_those_there_are(recipe: Path, tmp_path: Path) -> None:
    command = [*asr_command(), "train", str(recipe), f"output={tmp_path}", "corpus.dev=[devv]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "devv.jsonl.gz" in done.stderr
    assert "dev, labelled, untranscribed" in done.stderr
