"""Each format that people have, and what a malformed line says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_helpers import cut, texts, written
from lhotse import CutSet, SupervisionSet

from asr.errors import UserError
from asr.evaluation.transcripts import guess_format, read_transcripts


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lhotse(tmp_path: Path, suffix: str) -> None:
    cuts = CutSet.from_cuts([cut("u1", "ein haus"), cut("u2", "")])
    path = tmp_path / f"cuts{suffix}"
    cuts.to_file(path)
    assert guess_format(path) == "lhotse"
    found = read_transcripts(path, "reference")
    assert {name: one.text for name, one in found.items()} == {"u1": "ein haus", "u2": ""}
    assert (found["u1"].seconds, found["u1"].speaker) == (2.0, "anna")
    assert found["u1"].fields == {"language": "German", "age": 30}
    supervisions = tmp_path / f"supervisions{suffix}"
    SupervisionSet.from_segments(s for c in cuts for s in c.supervisions).to_file(supervisions)
    assert texts(supervisions) == texts(path)


def test_kaldi_text(tmp_path: Path) -> None:
    path = written(tmp_path / "text", "1-2-3 HELLO  WORLD\n1-2-4\n")
    assert guess_format(path) == "kaldi"
    assert texts(path) == {"1-2-3": "HELLO WORLD", "1-2-4": ""}


def test_tsv(tmp_path: Path) -> None:
    path = written(tmp_path / "hyp.txt", "a/b c\tguten tag\nd\t\n")
    assert guess_format(path) == "tsv"
    assert texts(path) == {"a/b c": "guten tag", "d": ""}
    headed = written(tmp_path / "headed.tsv", "id\ttext\na\tb\n")
    assert texts(headed) == {"a": "b"}


@pytest.mark.parametrize("name", ["file", "id", "path", "Utterance"])
def test_an_utterance_may_be_called_as_a_column_is(tmp_path: Path, name: str) -> None:
    first = written(tmp_path / "first.tsv", f"{name}\tworld foo\na\tb\n")
    later = written(tmp_path / "later.tsv", f"a\tb\n{name}\ttext\n")
    assert texts(first) == {name: "world foo", "a": "b"}
    assert texts(later) == {"a": "b", name: "text"}


@pytest.mark.parametrize(
    ("name", "text", "may_be"),
    [
        ("r.txt", "hello world\ngood morning to you\n", "Kaldi text .*, or words alone"),
        ("r.txt", "2 dogs\nand cats\n", "Kaldi text .*, or words alone"),
        ("r.csv", "a.wav,hello big world\nb.wav,good bye now\n", "comma-separated"),
        ("r.csv", "u1\thello\n", "comma-separated"),
        ("r.txt", "u1;hello big\nu2;good bye\n", "comma-separated"),
        ("r.txt", "file1 A 0.0 0.5 hello\nfile2 A 0.5 0.5 you\n", "ctm or stm"),
        ("r.txt", "file1 A anna 0.0 0.5 hello\n", "ctm or stm"),
    ],
)
def test_what_may_be_two_formats_is_refused_until_one_is_named(
    tmp_path: Path, name: str, text: str, may_be: str
) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(UserError, match=f"may be {may_be}.*--reference-format"):
        guess_format(path)
    found = texts(path, kind="lines")
    assert list(found) == [f"line {number + 1}" for number in range(text.count("\n"))]
    assert list(found.values()) == [" ".join(line.split()) for line in text.splitlines()]


def test_nist_trn(tmp_path: Path) -> None:
    path = written(tmp_path / "ref.trn", ";; a comment\nthe (uh) cat (spk1_u-001)\n(spk1_u-002)\n")
    assert texts(path) == {"spk1_u-001": "the uh cat", "spk1_u-002": ""}
    assert read_transcripts(path, "reference")["spk1_u-001"].speaker == "spk1"
    assert guess_format(written(tmp_path / "other", path.read_text().split("\n", 1)[1])) == "trn"


def test_nemo(tmp_path: Path) -> None:
    lines = [
        {"audio_filepath": "/data/x 1.wav", "duration": 1.5, "text": "A B", "pred_text": "A"},
        {"audio_filepath": "/data/x2.wav", "duration": 2, "text": "C", "pred_text": "C"},
    ]
    path = written(tmp_path / "manifest.json", "\n".join(map(json.dumps, lines)))
    assert guess_format(path) == "nemo"
    assert texts(path) == {"/data/x 1.wav": "A B", "/data/x2.wav": "C"}
    assert texts(path, "hypothesis") == {"/data/x 1.wav": "A", "/data/x2.wav": "C"}
    assert read_transcripts(path, "reference")["/data/x 1.wav"].seconds == 1.5
    long = [{**lines[0], "offset": offset} for offset in (0, 1.5)]
    path = written(tmp_path / "long.json", "\n".join(map(json.dumps, long)))
    assert list(texts(path)) == ["/data/x 1.wav-0", "/data/x 1.wav-1.5"]
    plain = written(tmp_path / "plain.json", json.dumps({"audio_filepath": "a", "text": "A"}))
    with pytest.raises(UserError, match="has no 'pred_text'"):
        texts(plain, "hypothesis")


@pytest.mark.parametrize(
    ("name", "text", "line", "fault"),
    [
        ("x.tsv", "a\tb\nc d\n", 2, "no TAB after the id"),
        ("x.tsv", "path\tsentence\na\tb\tc\n", 2, "a second TAB"),
        ("x.tsv", "id\tsegment_text\na\tb\n", 1, "names of columns, or an utterance"),
        ("x.jsonl", '{"id": "a", "reference": "b \\udc00"}\n', 1, "is half a character"),
        ("x.trn", "a b (u1)\nno id\n", 2, r"no \(id\) at its end"),
        ("x.trn", "{ a / b } (u1)\n", 1, "alternatives"),
        ("x.stm", "f A s 0 1 x\nf A s 3 1 x\n", 2, "not a segment"),
        ("x.ctm", "f A 0 1 word\nf A zero 1 word\n", 2, "not a word with its time"),
        ("x.ctm", "f A * * <ALT_BEGIN>\n", 1, "not a word with its time"),
        ("x.jsonl", '{"id": "a", "reference": "b"}\n{"id": 3}\n', 2, "'id' is not text"),
        ("x.jsonl", '{"id": "a", "reference": "b"}\n{\n', 2, "not JSON"),
        ("x.json", '{"audio_filepath": "a.wav", "text": "a"}\n{"text": "a"}\n', 2, "has no 'audio"),
        ("x.jsonl", '{"id": "a", "recording_id": "a"}\n', 1, "has no text"),
        ("text", "a b\na c\n", 2, "already in .*line 1"),
    ],
)
def test_a_malformed_line_names_file_and_line(
    tmp_path: Path, name: str, text: str, line: int, fault: str
) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(UserError, match=fault) as caught:
        read_transcripts(path, "reference")
    assert str(caught.value).startswith(f"{path}, line {line}: ")
