"""Faults of the corpora are named, every one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from check_helpers import check
from conftest import LETTERS, write_folder
from lhotse import CutSet

from asr.__main__ import main


def test_faults_of_the_corpus_itself(
    recipe: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    cuts = list(CutSet.from_file(corpus / "labelled.jsonl.gz"))
    dev = list(CutSet.from_file(corpus / "dev.jsonl.gz"))
    cuts[0].supervisions[0].text = ""
    cuts[1].recording.sources[0].source = str(tmp_path / "gone.wav")
    CutSet.from_cuts([*cuts, dev[0]]).to_file(data / "labelled.jsonl.gz")
    lines = gzip.decompress((corpus / "labelled.jsonl.gz").read_bytes())
    (data / "again.jsonl.gz").write_bytes(gzip.compress(lines + lines[: lines.index(b"\n") + 1]))
    CutSet.from_cuts(dev).to_file(data / "dev.jsonl.gz")
    for cut in dev:
        cut.supervisions = []
    CutSet.from_cuts(dev).to_file(data / "mute.jsonl.gz")
    (data / "untranscribed.jsonl.gz").write_bytes(b"no gzip")
    settings = [f"corpus.directory={data}", "corpus.test=[mute, again]"]
    status, said = check(capsys, recipe, *settings)
    assert status == 2
    for what in (
        f"1 of 41 utterances of the labelled set 'labelled' have no transcript, the first '{cuts[0].id}'",
        "gone.wav",
        f"1 utterances are in 'labelled' (corpus.labelled) and in 'dev' (corpus.dev), the first '{dev[0].id}'",
        "8 of 8 utterances of 'mute' (corpus.test) have no reference",
        "untranscribed.jsonl.gz: not a readable manifest",
        f"set 'again' of corpus.test: utterance id '{cuts[0].id}' occurs twice",
    ):
        assert what in said


def test_letters_of_the_corpus_are_listed(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "audio", 3, 7, transcribed=True)
    options = ["--root", str(tmp_path / "audio"), "--output", str(tmp_path / "data")]
    assert main(["prepare", "folder", *options]) == 0
    settings = [f"corpus.directory={tmp_path / 'data'}", "corpus.dev=[]", "corpus.untranscribed=[]"]
    settings += ["pseudo_label.start_hours=null", f"tokenizer.characters={LETTERS[1:]}"]
    status, said = check(capsys, recipe, *settings)
    assert status == 2
    assert "it lacks 'a' " in said
    assert f'set tokenizer.characters: "{"".join(sorted(LETTERS))}"' in said
    assert "note: corpus.dev is empty" in said
