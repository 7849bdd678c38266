"""Folders of transcripts, and what cannot be read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from evaluation_helpers import SAMPLE, texts, written

from asr.errors import UserError
from asr.evaluation.transcripts import read_transcripts


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the LibriSpeech sample is not here")
def test_a_librispeech_folder() -> None:
    found = texts(SAMPLE / "test-clean")
    assert len(found) == 4
    assert found["1089-134686-0000"].startswith("HE HOPED THERE WOULD BE STEW FOR DINNER")


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_transcripts(tmp_path / "no.trn", "reference")
    os.mkfifo(tmp_path / "pipe")  # as <(a command); it was said not to be there
    with pytest.raises(UserError, match=r"pipe is read once.*--reference-format of references"):
        read_transcripts(tmp_path / "pipe", "reference")
    with pytest.raises(UserError, match="folder without"):
        read_transcripts(tmp_path, "reference")
    with pytest.raises(UserError, match="no utterance in it"):
        read_transcripts(written(tmp_path / "empty.trn", ";; nothing\n"), "reference")
    path = tmp_path / "latin.txt"
    path.write_bytes("a grün\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_transcripts(path, "reference")
    broken = tmp_path / "cuts.jsonl.gz"
    broken.write_bytes(gzip.compress(b'{"id": "a"}\n' * 1000)[:40])
    with pytest.raises(UserError, match="cannot be read"):
        read_transcripts(broken, "reference")
