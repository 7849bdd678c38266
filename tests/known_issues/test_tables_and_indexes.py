"""Small tables, indexes and manifests that are damaged or say something else: one line, or made anew."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import read_lines
from manifest_helpers import line, write

from asr.__main__ import main
from asr.data.dataset import SpeechSet, check_stored_features
from asr.errors import UserError
from asr.report.run_warnings import run_warnings
from asr.tracking.run_reader import Run
from asr.utils.files import write_jsonl


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "references").mkdir()
    return write(tmp_path / "some.jsonl.gz", [line("u1", text=None), line("u2", text=None)])


@pytest.mark.parametrize(
    "content",
    [
        b"u1\ta b\nu2\tc\n",
        b"\xef\xbb\xbfu1\ta b\r\nu2\tc\r\n",
        b"u1  a b\n\nu2 c",
        b"u1\ta b \ru2\tc\ru2\tc",
        "u1\ta b\n\ufeffu2\tc".replace("\ufeff", "").encode(),
        gzip.compress(b"u1\ta b\nu2\tc\n", mtime=0),
    ],
)
def test_references_are_read_however_they_are_written(manifest: Path, content: bytes) -> None:
    (manifest.parent / "references/some.tsv").write_bytes(content)
    assert list(SpeechSet.load(manifest).references) == ["a b", "c"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"u1\ta\nu1\tb\n", r"some\.tsv:2: 'u1' has another reference on line 1"),
        (b"u1\ta\nu2\n", r"some\.tsv:2: no reference behind the id"),
        (b"x1\ta\nx2\tb\n", r"some\.tsv:1: 'x1' is no utterance of .*2 of 2 ids"),
        ("u1\tcafé\n".encode("latin-1"), r"some\.tsv:1: not UTF-8"),
        ("u1\ta\n".encode("utf-16"), r"some\.tsv: is UTF-16"),
        (b"", r"some\.tsv: the file is empty"),
    ],
)
def test_references_that_match_nothing_are_an_error(
    manifest: Path, content: bytes, said: str
) -> None:
    (manifest.parent / "references/some.tsv").write_bytes(content)
    with pytest.raises(UserError, match=said):
        SpeechSet.load(manifest)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def as_list(path: Path) -> None:
    path.write_bytes(b"[]" if path.suffix == ".json" else b"{}")


@pytest.mark.parametrize("how", [Path.unlink, flipped, halved, emptied, as_list])
def test_a_damaged_index_is_made_anew(manifest: Path, how: Callable[[Path], None]) -> None:
    def seen() -> tuple[list[str], list[float], str]:
        speech = SpeechSet.load(manifest)
        return list(speech.ids), speech.seconds.tolist(), speech.characters

    whole = seen()
    files = sorted(path for path in manifest.parent.glob(".index/some-*/*") if path.is_file())
    assert len(files) == 8
    for path in files:
        how(path)
        assert seen() == whole, path.name
    (index,) = (path for path in manifest.parent.glob(".index"))
    shutil.rmtree(index)
    index.write_text("no folder")
    assert seen() == whole


def test_damaged_features_json_is_said(recipe: Path, tmp_path: Path) -> None:
    from asr.config.recipe import load_config

    mark = tmp_path / "features/some/features.json"
    mark.parent.mkdir(parents=True)
    for content in ("", "[]", '{"features": 3}', '{"digest": "x"}'):
        mark.write_text(content)
        with pytest.raises(UserError, match="has no stored features"):
            check_stored_features(load_config(recipe), tmp_path, ["some.features"])


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-1.0", "0", "1" + 400 * "0"])
def test_a_duration_is_a_positive_number(tmp_path: Path, seconds: str) -> None:
    odd = line("u2").replace('"duration": 1.5, "channel": 0, "supervisions"', "@")
    odd = odd.replace("@", f'"duration": {seconds}, "channel": 0, "supervisions"')
    path = write(tmp_path / "some.jsonl.gz", [line("u1"), odd])
    with pytest.raises(
        UserError, match=r"line 2: (ValueError: a duration of|OverflowError: int too large)"
    ):
        SpeechSet.load(path)


def test_supervisions_are_read_as_they_are_spoken(tmp_path: Path) -> None:
    record = json.loads(line("u1"))
    first, last = ({**record["supervisions"][0], "id": text, "text": text} for text in ("a", "b"))
    record["supervisions"] = [{**last, "start": 1.0}, {**first, "start": 0.2}]
    path = write(tmp_path / "some.jsonl.gz", [json.dumps(record) + "\n"])
    assert list(SpeechSet.load(path).references) == ["a b"]


def test_half_a_surrogate_pair_is_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"id": "a", "reference": "x \ud83d y", "hypothesis": "x y", "seconds": 1}
    path = tmp_path / "hypotheses.jsonl"
    write_jsonl(path, [record])  # kept as it is, in escapes
    assert read_lines(path) == [record]
    assert main(["score", str(path)]) == 2
    assert "is half a character" in capsys.readouterr().err


def test_two_sets_of_one_name_are_two(
    trained: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert main(["decode", str(run), str(corpus / "dev.jsonl.gz")]) == 0
    assert main(["decode", str(run), str(corpus / "dev.jsonl.gz")]) == 0
    lines = gzip.decompress((corpus / "dev.jsonl.gz").read_bytes()).splitlines()
    (tmp_path / "dev.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[:3]), mtime=0))
    assert main(["decode", str(run), str(tmp_path / "dev.jsonl.gz")]) == 2
    assert "a set of the same name" in capsys.readouterr().err
    assert len(read_lines(run / "decode/dev/teacher.jsonl")) == 8


def test_the_report_says_what_was_lost() -> None:
    place = {"step": 1, "hours": 0.1, "lost_utterances": 2}
    evaluation = {**place, "set": "dev", "model": "teacher"}
    said = run_warnings(Run(training=[place, {**place, "lost_utterances": 0}]), {})
    assert said == [
        "In 1 of 2 updates some utterances could not be read, 2 times in all: they were left out. train.log "
        "names them."
    ]
    [said_of_dev] = run_warnings(Run(evaluations=[evaluation]), {})
    assert "dev set 'dev' up to 2 utterances could not be read" in said_of_dev
