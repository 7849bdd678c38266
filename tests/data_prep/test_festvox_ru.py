from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from data_prep_helpers import cuts_of, make_voice, rejects_of, summary_of, write_audio
from hypothesis import given
from hypothesis import strategies as st

from asr.data_prep import cli
from asr.data_prep.corpora.festvox_ru import CHARACTERS, clean_text, split_set
from asr.data_prep.corpora.splits import position
from asr.errors import UserError

_BELOW = "usr/share/festival/voices/russian"
_SETS = ["test", "dev", "labelled", "untranscribed"]
_WORDS = [f"слово {'а' * (n % 7 + 1)}{'б' * (n // 7)}" for n in range(60)]

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")


def prepare(output: Path, *more: str) -> int:
    return cli.main(["festvox_ru", "--output", str(output), "--jobs", "1", *more])


def ids(output: Path) -> dict[str, list[str]]:
    present = [name for name in _SETS if (output / f"{name}.jsonl.gz").is_file()]
    return {name: [cut.id for cut in cuts_of(output, name)] for name in present}


def make_package(folder: Path) -> Path:
    tree = make_voice(folder / "tree", _WORDS, below=_BELOW)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        "Package: festvox-ru\nVersion: 0.5\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: a tiny voice\n"
    )
    package = folder / "festvox-ru_0.5_all.deb"
    subprocess.run(["dpkg-deb", "-b", tree, package], check=True, capture_output=True)
    return package


def fake_apt(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_sets_and_references(tmp_path: Path) -> None:
    source, output = make_voice(tmp_path / "v", _WORDS, below=_BELOW), tmp_path / "out"
    assert prepare(output, "--source", str(source)) == 0
    found = ids(output)
    assert list(found) == _SETS
    assert sorted(one for names in found.values() for one in names) == [
        f"ru_{n:04}" for n in range(1, 61)
    ]
    assert len(found["labelled"]) < len(found["untranscribed"])
    for name in ("test", "dev", "labelled"):
        assert all(
            set(cut.supervisions[0].text) <= {*CHARACTERS, " "} for cut in cuts_of(output, name)
        )
    assert all(s.text is None for cut in cuts_of(output, "untranscribed") for s in cut.supervisions)
    lines = (output / "references" / "untranscribed.tsv").read_text().splitlines()
    references = dict(line.split("\t") for line in lines)
    assert list(references) == found["untranscribed"]
    assert all(references[name] == _WORDS[int(name[3:]) - 1] for name in references)
    assert [path.name for path in (output / "references").iterdir()] == ["untranscribed.tsv"]


def test_the_voice_folder_itself_is_a_source(tmp_path: Path) -> None:
    voice = make_voice(tmp_path, _WORDS[:5]) / "msu_ru_nsh_clunits"
    assert prepare(tmp_path / "out", "--source", str(voice)) == 0
    assert sum(map(len, ids(tmp_path / "out").values())) == 5


def test_the_split_depends_on_the_sentence_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    prepare(first / "out", "--source", str(make_voice(first, _WORDS)))
    prepare(second / "out", "--source", str(make_voice(second, _WORDS[::-1])))
    mirrored = {
        name: {f"ru_{61 - int(one[3:]):04}" for one in ids(second / "out")[name]} for name in _SETS
    }
    assert {name: set(found) for name, found in ids(first / "out").items()} == mirrored


def test_labelled_share_moves_training_sentences_only(tmp_path: Path) -> None:
    source = str(make_voice(tmp_path / "v", _WORDS))
    prepare(tmp_path / "less", "--source", source, "--labelled-share", "0.2")
    prepare(tmp_path / "more", "--source", source, "--labelled-share", "1")
    less, more = ids(tmp_path / "less"), ids(tmp_path / "more")
    assert (less["test"], less["dev"]) == (more["test"], more["dev"])
    assert sorted(less["labelled"] + less["untranscribed"]) == more["labelled"]
    assert "untranscribed" not in more


def test_a_limit_takes_a_growing_part_of_each_set(tmp_path: Path) -> None:
    source = str(make_voice(tmp_path / "v", _WORDS))
    limits = {"0.011": tmp_path / "a", "0.03": tmp_path / "b", "100": tmp_path / "c"}
    for limit, output in limits.items():
        prepare(output, "--source", source, "--limit-minutes", limit)
    small, middle, whole = (ids(output) for output in limits.values())
    # 0.66 s and 1.8 s of sentences of 0.3 s.
    assert [len(found) for found in small.values()] == [2, 2, 2, 2]
    assert all(len(found) <= 6 for found in middle.values())
    for name in _SETS:
        assert set(small[name]) < set(middle[name]) <= set(whole[name])


def test_bad_lines_are_rejects(tmp_path: Path) -> None:
    source = make_voice(tmp_path / "v", [*_WORDS[:6], "глава 5"])
    voice = source / "msu_ru_nsh_clunits"
    write_audio(voice / "wav" / "ru_0099.wav")
    (voice / "wav" / "ru_0002.wav").unlink()
    with (voice / "etc" / "txt.done.data").open("a") as file:
        file.write("( ru_0050 без кавычек )\n")
    assert prepare(tmp_path / "out", "--source", str(source)) == 0
    rejects = {line["reason"]: line for line in rejects_of(tmp_path / "out")}
    assert {reason: line["id"] for reason, line in rejects.items()} == {
        "malformed_line": "",
        "missing_text": "ru_0099",
        "missing_audio": "ru_0002",
        "text_characters": "ru_0007",
    }
    assert "txt.done.data:8" in rejects["malformed_line"]["detail"]


@needs_dpkg
def test_a_package_is_unpacked_once(tmp_path: Path) -> None:
    package, output = make_package(tmp_path), tmp_path / "out"
    assert prepare(output, "--source", str(package)) == 0
    assert len(list((output / "download").iterdir())) == 1
    before = summary_of(output)
    assert prepare(output, "--source", str(package), "--jobs", "2") == 0
    assert summary_of(output) == before


@needs_dpkg
def test_download_by_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path)
    script = f'test "$*" = "download festvox-ru" && cp {package} .'
    fake_apt(tmp_path / "bin", script, monkeypatch)
    store = tmp_path / "store"
    assert prepare(tmp_path / "out", "--download-dir", str(store)) == 0
    assert (store / package.name).is_file()
    # What is there is used: no second download.
    (tmp_path / "bin" / "apt-get").write_text("#!/bin/sh\nexit 1\n")
    assert prepare(tmp_path / "out2", "--download-dir", str(store)) == 0


def test_missing_package_lists_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "touch festvox-ru_part.deb\necho 'E: Unable to locate package' >&2\nexit 100"
    fake_apt(tmp_path / "bin", script, monkeypatch)
    with pytest.raises(UserError, match=r"Unable to locate.*sudo apt-get update.*--source"):
        prepare(tmp_path / "out")
    assert not list((tmp_path / "out" / "download").glob("*.deb"))


def test_a_machine_without_apt_is_told_of_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get is not on this machine.*--source"):
        prepare(tmp_path / "out")


@needs_dpkg
def test_wrong_sources_are_explained(tmp_path: Path) -> None:
    broken = tmp_path / "x.deb"
    broken.write_text("no package")
    with pytest.raises(UserError, match="dpkg-deb -x"):
        prepare(tmp_path / "out", "--source", str(broken))
    with pytest.raises(UserError, match="no voice found"):
        prepare(tmp_path / "out", "--source", str(tmp_path))
    with pytest.raises(UserError, match="no such file"):
        prepare(tmp_path / "out", "--source", str(tmp_path / "missing"))


@pytest.mark.parametrize("option", [("--labelled-share", "2"), ("--limit-minutes", "-1")])
def test_wrong_numbers_are_explained(tmp_path: Path, option: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=option[0]):
        prepare(tmp_path / "out", *option)


@pytest.mark.parametrize(
    ("written", "clean"),
    [
        ("Она завела, прядь волнистых вол+ос за ухо.", "она завела прядь волнистых волос за ухо"),
        ("+Окна - серо-карие!", "окна серо карие"),
        ("Ёлка,   ещ+ё «елка»…", "ёлка ещё елка"),
        ("и\u0306од", "йод"),
        (" -,+. ", ""),
    ],
)
def test_cleaning(written: str, clean: str) -> None:
    assert clean_text(written) == clean


@given(st.text())
def test_cleaning_is_stable_and_leaves_no_punctuation(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert clean == " ".join(clean.split())
    assert not set(clean) & set("+-,.!?\"'«»—")


@given(st.text(alphabet=CHARACTERS + " "), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_labelled_share_only_adds(text: str, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert 0 <= position(text) < 1
    if split_set(text, less) == "labelled":
        assert split_set(text, more) == "labelled"
    if split_set(text, less) in ("test", "dev"):
        assert split_set(text, more) == split_set(text, less)
