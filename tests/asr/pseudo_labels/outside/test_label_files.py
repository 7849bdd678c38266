"""Labels in the formats that people have: written and read back, and as others write them."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_helpers import make_ledger
from lhotse import load_manifest

from asr.errors import UserError
from asr.evaluation.hypotheses import read_hypotheses
from asr.pseudo_labels.outside.label_files import EXPORTS, read_labels, write_labels
from asr.pseudo_labels.outside.lines import WrittenLabel


def cut_of(name: str, audio: str = "/data/a.wav") -> dict[str, object]:
    recording = {
        "id": name,
        "sources": [{"type": "file", "channels": [0], "source": audio}],
        "sampling_rate": 16000,
        "num_samples": 32000,
        "duration": 2.0,
        "channel_ids": [0],
    }
    return {
        "id": name,
        "start": 0.0,
        "duration": 2.0,
        "channel": 0,
        "supervisions": [],
        "recording": recording,
        "type": "MonoCut",
    }


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_LABELS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.tuples(_TEXT, st.none() | st.floats(0, 1)),
    min_size=1,
    max_size=4,
)


def _can_hold(kind: str, name: str) -> bool:
    if kind == "kaldi":
        return not any(c.isspace() for c in name) and name[0] != "\ufeff"
    return kind != "tsv" or (name.strip() == name and not set(name) & set("\t\r\n"))


@pytest.mark.parametrize("kind", EXPORTS)
@given(found=_LABELS, has_cuts=st.booleans())
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_read_back_or_refused_by_its_id(
    kind: str, found: dict[str, tuple[str, float | None]], has_cuts: bool
) -> None:
    cuts = has_cuts or kind == "nemo"
    labels = [
        WrittenLabel(name, text, confidence, 2.0, cut=cut_of(name) if cuts else None)
        for name, (text, confidence) in found.items()
    ]
    with TemporaryDirectory() as folder:
        if any(not _can_hold(kind, label.id) for label in labels):
            with pytest.raises(UserError, match="export another format"):
                write_labels(Path(folder), kind, labels)
            assert not [path for path in Path(folder).rglob("*") if path.is_file()]
            return
        back = read_labels(write_labels(Path(folder), kind, labels))
    assert list(back) == [label.id for label in labels] or kind == "kaldi"
    assert back == {label.id: label for label in labels}


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [
        ("kaldi", "a b", "a b"),
        ("kaldi", "a\N{NO-BREAK SPACE}b", "Kaldi"),
        ("tsv", "a\tb", "TSV"),
        ("tsv", "a\nb", "TSV"),
        ("asr", "", "empty id"),
        ("lhotse", "a\ud800", "not Unicode"),
    ],
)
def test_a_format_that_cannot_hold_an_id_says_so(
    kind: str, name: str, part: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=part):
        write_labels(tmp_path, kind, [WrittenLabel("good", "x"), WrittenLabel(name, "x")])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "all of it or nothing"


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    labels = [
        WrittenLabel("a/ü", "hello world", 0.5, 2.0, "hallo world", cut_of("a/ü")),
        WrittenLabel("b", "", None, 2.0, "", cut_of("b")),
    ]
    cuts = load_manifest(write_labels(tmp_path, "lhotse", labels))
    assert [(cut.id, cut.supervisions[0].text) for cut in cuts] == [
        ("a/ü", "hello world"),
        ("b", ""),
    ]
    assert cuts[0].supervisions[0].custom == {"confidence": 0.5}
    shards = [WrittenLabel("a", "hello", 0.5, 2.0)]
    [supervision] = load_manifest(write_labels(tmp_path / "shards", "lhotse", shards))
    assert (supervision.id, supervision.text, supervision.duration) == ("a", "hello", 2.0)
    [first, _] = read_hypotheses(write_labels(tmp_path, "asr", labels))
    assert (first.reference, first.hypothesis, first.seconds) == ("hallo world", "hello world", 2.0)
    nemo = write_labels(tmp_path, "nemo", labels).read_text(encoding="utf-8").splitlines()
    assert json.loads(nemo[0])["audio_filepath"] == "/data/a.wav"
    with pytest.raises(UserError, match="no audio file"):
        write_labels(tmp_path, "nemo", shards)
    kaldi = write_labels(tmp_path, "kaldi", [WrittenLabel("é", "x"), WrittenLabel("z", "y", 1.0)])
    assert kaldi.read_text(encoding="utf-8") == "z y\né x\n", "sorted by bytes"
    assert kaldi.with_name("confidence").read_text() == "z 1.0\n"


def test_files_as_others_write_them(tmp_path: Path) -> None:
    def read(name: str, content: str) -> list[tuple[str, str, float | None]]:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return [(one.id, one.text, one.confidence) for one in read_labels(path).values()]

    nemo = {"audio_filepath": "/d/a.wav", "text": "truth", "pred_text": "guess"}
    assert read("n.json", json.dumps(nemo)) == [("/d/a.wav", "guess", None)]
    assert read("text", "a  two  words (x)\nb\n") == [("a", "two words (x)", None), ("b", "", None)]
    assert read("x.tsv", "utt\ttext\na b\tone\nc\ttwo\t0.25\n") == [
        ("a b", "one", None),
        ("c", "two", 0.25),
    ]
    assert read("headless.tsv", "id1\tone\n") == [("id1", "one", None)]
    cuts = [cut_of("a"), cut_of("b")]
    cuts[0]["supervisions"] = [{"id": "s", "text": "one", "custom": {"confidence": 0.5}}]
    lines = "\n".join(map(json.dumps, cuts))
    assert read("c.jsonl", lines) == [("a", "one", 0.5)], "nobody has labelled b"


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("x.tsv", "a\tb\t-0.3\n", "line 1: confidence -0.3 is not from 0 to 1; .*exp"),
        ("x.tsv", "a\tb\tsure\n", "not a number"),
        ("x.tsv", "a\tb\nc\n", "line 2: 1 columns"),
        ("text", "a b\na c\n", "line 2: id 'a' for the second time"),
        ("text", "\n", "no labels"),
        (
            "n.json",
            '{"audio_filepath": "a.wav", "offset": 1.5, "text": "b"}',
            "add the utterance's id",
        ),
        ("c.jsonl", '{"id": "a", "reference": ""}', "'hypothesis' is not text"),
        ("c.jsonl", '{"id": "a", "supervisions": 1}', "not a list"),
        ("x.stm", "f 1 s 0 1 a\n", "not read as labels"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    name: str, content: str, part: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=part):
        read_labels(tmp_path / name)


def test_a_ledger_gives_the_last_label_of_each_utterance(tmp_path: Path) -> None:
    found = read_labels(make_ledger(tmp_path / "run"))
    assert all(label.confidence is not None for label in found.values())
    assert set(found) == {"a", "b"}
