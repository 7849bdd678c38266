"""Limited sets: chosen by the archive's names or by lists, and what is left of each part."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from data_prep_helpers import cuts_of, write_audio

from asr.data_prep import cli
from asr.data_prep.corpora.librilight import prepare_librilight
from asr.errors import UserError

IDS = ["1-2-0000", "1-2-0001", "3-4-0000", "5-6-0000"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two prepared training parts of two utterances each."""
    corpus = tmp_path / "LibriSpeech"
    for part, names in (("train-clean-100", IDS[:2]), ("train-other-500", IDS[2:])):
        for name in names:
            speaker, chapter, _ = name.split("-")
            folder = corpus / part / speaker / chapter
            write_audio(folder / f"{name}.flac")
            with (folder / f"{speaker}-{chapter}.trans.txt").open("a") as file:
                file.write(f"{name} SOME WORDS\n")
    options = ["--root", str(corpus), "--output", str(tmp_path / "data")]
    assert cli.main(["librispeech", *options]) == 0
    return tmp_path / "data"


def archive(folder: Path, **names: str) -> Path:
    """The layout of librispeech_finetuning, with empty files: only names count."""
    places = {"first": "1h/0/clean", "second": "1h/3/other", "nine": "9h/other"}
    for place in places.values():
        (folder / place).mkdir(parents=True)
    for key, name in names.items():
        speaker, chapter, _ = name.split("-")
        path = folder / places[key] / speaker / chapter / f"{name}.flac"
        path.parent.mkdir(parents=True)
        path.touch()
    return folder


def ids(data: Path, name: str) -> list[str]:
    return [cut.id for cut in cuts_of(data, name)]


def test_sizes_hold_each_other_and_the_rest_is_left(data: Path, tmp_path: Path) -> None:
    lists = archive(tmp_path / "ft", first=IDS[0], second=IDS[2], nine=IDS[3])
    options = ["--lists", str(lists), "--data", str(data), "--sizes", "10min", "1h", "10h"]
    assert cli.main(["librilight", *options]) == 0
    assert ids(data, "train-10min") == [IDS[0]]
    assert ids(data, "train-1h") == [IDS[0], IDS[2]]
    assert ids(data, "train-10h") == [IDS[0], IDS[2], IDS[3]]
    assert ids(data, "train-clean-100-without-10h") == [IDS[1]]
    assert ids(data, "train-other-500-without-1h") == [IDS[3]]
    [cut] = cuts_of(data, "train-clean-100-without-10h")
    assert cut.supervisions[0].text == "SOME WORDS"
    before = (data / "train-10h.jsonl.gz").read_bytes()
    assert cli.main(["librilight", *options]) == 0
    assert (data / "train-10h.jsonl.gz").read_bytes() == before


def test_a_list_of_ids_does_as_well(data: Path, tmp_path: Path) -> None:
    (tmp_path / "10h.txt").write_text(f"{IDS[1]}\n{IDS[3]}\n")
    options = ["--lists", str(tmp_path), "--data", str(data)]
    assert cli.main(["librilight", *options]) == 0
    assert ids(data, "train-10h") == [IDS[1], IDS[3]]


def test_what_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    def fails(lists: Path, match: str, where: Path = data) -> None:
        with pytest.raises(UserError, match=match):
            cli.main(["librilight", "--lists", str(lists), "--data", str(where)])
        assert not (where / "train-10h.jsonl.gz").exists()

    fails(tmp_path / "nowhere", "neither 10h.txt nor the folder 1h")
    (tmp_path / "10h.txt").write_text("9-9-0000\n")
    fails(tmp_path, "1 of the 1 utterances of 10h are in none of .* the first '9-9-0000'")
    (tmp_path / "10h.txt").write_text("")
    fails(tmp_path, "10h.txt: the file is empty")
    fails(tmp_path, "run `asr prepare librispeech` first", tmp_path / "empty")


def test_what_is_no_list_and_no_manifest_is_said(data: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "10h.txt").write_bytes(b"\xff\xfe1-2-0000")
    with pytest.raises(UserError, match=r"10h.txt: is UTF-16"):
        prepare_librilight(lists, data, ["10h"])
    (lists / "10h.txt").write_bytes(
        b"\xef\xbb\xbf1-2-0000\n3-4-0000.flac\n"
    )  # as some editors save it
    prepare_librilight(lists, data, ["10h"])
    assert ids(data, "train-10h") == ["1-2-0000", "3-4-0000"]
    (data / "train-clean-100.jsonl.gz").write_bytes(gzip.compress(b'{"id": \n'))
    with pytest.raises(UserError, match=r"train-clean-100.jsonl.gz: not readable"):
        prepare_librilight(lists, data, ["10h"])
