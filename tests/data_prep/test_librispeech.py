from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_prep_helpers import (
    Mirror,
    cut_short,
    cuts_of,
    make_librispeech,
    rejects_of,
    served,
    summary_of,
)

from asr.data_prep import cli
from asr.errors import UserError

_SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "librispeech-sample"
_PARTS = {
    "train-clean-100": ["19-198-0000", "19-198-0003", "26-495-0001"],
    "dev-clean": ["84-121123-0000"],
}


def prepare(root: Path, output: Path, *more: str) -> int:
    arguments = ["librispeech", "--root", str(root), "--output", str(output), "--jobs", "2", *more]
    return cli.main(arguments)


@pytest.mark.parametrize("below", ["", "LibriSpeech"])
def test_partial_chapters(tmp_path: Path, below: str) -> None:
    make_librispeech(tmp_path / "LibriSpeech", _PARTS)
    output = tmp_path / "out"
    assert prepare(tmp_path / below, output) == 0
    for part, names in _PARTS.items():
        cuts = cuts_of(output, part)
        assert [cut.id for cut in cuts] == names
        assert [cut.supervisions[0].speaker for cut in cuts] == [n.split("-")[0] for n in names]
        assert all(cut.load_audio().shape == (1, cut.num_samples) for cut in cuts)
    assert summary_of(output)["sets"]["train-clean-100"]["speakers"] == 2
    assert rejects_of(output) == []


def test_same_as_lhotses_recipe(tmp_path: Path) -> None:
    from lhotse.recipes import prepare_librispeech

    make_librispeech(tmp_path / "LibriSpeech", _PARTS)
    assert prepare(tmp_path, tmp_path / "out") == 0
    theirs = prepare_librispeech(tmp_path / "LibriSpeech")
    for part in _PARTS:
        ours = {cut.id: cut for cut in cuts_of(tmp_path / "out", part)}
        recordings, segments = theirs[part]["recordings"], theirs[part]["supervisions"]
        assert {one.id: one.num_samples for one in recordings} == {
            name: cut.num_samples for name, cut in ours.items()
        }
        for segment in segments:
            mine = ours[segment.id].supervisions[0]
            assert (mine.text, mine.speaker, mine.language, mine.duration) == (
                *(segment.text, segment.speaker, segment.language, segment.duration),
            )


def test_bad_entries_do_not_stop_the_rest(tmp_path: Path) -> None:
    make_librispeech(tmp_path / "LibriSpeech", _PARTS)
    chapter = tmp_path / "LibriSpeech" / "train-clean-100" / "19" / "198"
    cut_short(chapter / "19-198-0003.flac")
    (chapter / "19-198-0009.flac").write_bytes((chapter / "19-198-0000.flac").read_bytes())
    with (chapter / "19-198.trans.txt").open("a") as file:
        file.write("19-198-0007 NOT THERE\n19-198-0008\n")
    assert prepare(tmp_path, tmp_path / "out") == 0
    assert {line["id"]: line["reason"] for line in rejects_of(tmp_path / "out")} == {
        "19-198-0003": "truncated",
        "19-198-0007": "missing_audio",
        "19-198-0008": "empty_text",
        "19-198-0009": "missing_text",
    }
    assert len(cuts_of(tmp_path / "out", "train-clean-100")) == 2


def test_parts_are_chosen(tmp_path: Path) -> None:
    make_librispeech(tmp_path / "LibriSpeech", _PARTS)
    assert prepare(tmp_path, tmp_path / "out", "--parts", "dev-clean") == 0
    assert list(summary_of(tmp_path / "out")["sets"]) == ["dev-clean"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--parts", "test-other"], r"LibriSpeech/test-other does not exist.*holds dev-clean"),
        (["--parts", "dev_clean"], "did you mean 'dev-clean'"),
        (["--download"], "name the parts with --parts"),
    ],
)
def test_missing_parts_are_explained(tmp_path: Path, more: list[str], message: str) -> None:
    make_librispeech(tmp_path / "LibriSpeech", {"dev-clean": ["1-2-0000"]})
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, tmp_path / "out", *more)


def test_wrong_roots_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        prepare(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(
        UserError, match=r"no part of LibriSpeech found; unpack one of .*trans\.txt"
    ):
        prepare(tmp_path, tmp_path / "out")
    (tmp_path / "dev-clean").mkdir()
    with pytest.raises(UserError, match="no transcripts in"):
        prepare(tmp_path, tmp_path / "out")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server that has dev-clean-2, of which we know no SHA-256."""
    folder = tmp_path / "mirror/31"
    make_librispeech(tmp_path / "packed/LibriSpeech", {"dev-clean-2": ["3-4-0000"]})
    folder.mkdir(parents=True)
    with tarfile.open(folder / "dev-clean-2.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "packed/LibriSpeech", "LibriSpeech")
    list_checksums(folder)
    with served(folder.parent) as address:
        yield address, folder


def list_checksums(folder: Path) -> None:
    archives = sorted(folder.glob("*.tar.gz"))
    lines = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.name}\n" for path in archives]
    (folder / "md5sum.txt").write_text("".join(lines))


def test_download_fetches_what_is_missing_from_where_it_stopped(
    tmp_path: Path, mirror: tuple[str, Path]
) -> None:
    address, folder = mirror
    root = tmp_path / "root"
    make_librispeech(root / "LibriSpeech", {"dev-clean": ["1-2-0000"]})
    archive = (folder / "dev-clean-2.tar.gz").read_bytes()
    (root / "dev-clean-2.tar.gz").write_bytes(archive[: len(archive) // 2])
    options = ["--parts", "dev-clean", "dev-clean-2", "--download", "--mirror", address]
    assert prepare(root, tmp_path / "out", *options) == 0
    assert list(summary_of(tmp_path / "out")["sets"]) == ["dev-clean", "dev-clean-2"]
    assert ("dev-clean-2.tar.gz", f"bytes={len(archive) // 2}-") in Mirror.asked
    assert not any(name == "dev-clean.tar.gz" for name, _ in Mirror.asked)


def test_a_damaged_download_is_removed(tmp_path: Path, mirror: tuple[str, Path]) -> None:
    address, folder = mirror
    root = tmp_path / "root"
    root.mkdir()
    options = ["--parts", "dev-clean-2", "--download", "--mirror", address]
    (root / "dev-clean-2.tar.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"was removed; run the same command again"):
        prepare(root, tmp_path / "out", *options)
    assert not (root / "dev-clean-2.tar.gz").exists()
    assert prepare(root, tmp_path / "out", *options) == 0
    (folder / "md5sum.txt").unlink()
    Mirror.asked.clear()
    assert prepare(root, tmp_path / "again", *options) == 0
    assert not Mirror.asked, "what is unpacked needs no server"
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"list of checksums cannot be fetched"):
        prepare(tmp_path / "other", tmp_path / "again", *options)
    with pytest.raises(UserError, match=r"cannot be fetched|download failed"):
        prepare(tmp_path / "empty", tmp_path / "x", *options[:-1], "http://127.0.0.1:9")


@pytest.mark.skipif(not _SAMPLE.is_dir(), reason="the genuine sample is not on this machine")
def test_the_genuine_sample(tmp_path: Path) -> None:
    assert prepare(_SAMPLE, tmp_path / "out") == 0
    sets = summary_of(tmp_path / "out")["sets"]
    counts = {name: (one["utterances"], one["speakers"]) for name, one in sets.items()}
    assert counts == {"train-clean-100": (250, 250), "test-clean": (4, 1), "dev-clean": (2, 1)}
    minutes = {name: round(one["hours"] * 60, 1) for name, one in sets.items()}
    assert minutes == {"train-clean-100": 52.1, "test-clean": 0.4, "dev-clean": 0.4}
    assert rejects_of(tmp_path / "out") == []


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo("LibriSpeech/dev-clean-2/out")
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "members",
    [
        [link("/tmp"), tarfile.TarInfo("LibriSpeech/dev-clean-2/out/there")],
        [link("../../../.."), tarfile.TarInfo("LibriSpeech/dev-clean-2/out/there")],
        [link("/etc/passwd", tarfile.LNKTYPE)],
        [tarfile.TarInfo("../there")],
        [tarfile.TarInfo("/tmp/there")],
        [link("", tarfile.FIFOTYPE)],
    ],
)
def test_nothing_of_an_archive_lands_outside_its_folder(
    tmp_path: Path, mirror: tuple[str, Path], members: list[tarfile.TarInfo]
) -> None:
    address, folder = mirror
    with tarfile.open(folder / "dev-clean-2.tar.gz", "w:gz") as tar:
        for member in members:
            tar.addfile(member)
        tar.add(tmp_path / "packed/LibriSpeech", "LibriSpeech")
    list_checksums(folder)
    root = tmp_path / "in/root"
    root.mkdir(parents=True)
    options = ["--parts", "dev-clean-2", "--download", "--mirror", address]
    try:
        prepare(root, tmp_path / "out", *options)
    except UserError as error:
        assert "cannot be unpacked" in str(error)  # noqa: PT017 (an absolute path may be taken as a relative one)
    outside = [path for path in tmp_path.rglob("there") if root not in path.parents]
    assert not outside
    assert not Path("/tmp/there").exists()
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_an_archive_of_a_known_part_is_known_by_its_sha256(
    tmp_path: Path, mirror: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A server may say what it likes of its own files."""
    address, folder = mirror
    known = folder.with_name("12")
    folder.rename(known)
    for part in ("dev-clean", "train-other-500"):
        (known / "dev-clean-2.tar.gz").rename(known / f"{part}.tar.gz")
        list_checksums(known)
        options = ["--parts", part, "--download", "--mirror", address]
        (tmp_path / part).mkdir()
        with pytest.raises(UserError, match=r"SHA256 .*, expected .*, and was removed"):
            prepare(tmp_path / part, tmp_path / "out", *options)
        assert not (tmp_path / part / "LibriSpeech").exists()
        (known / f"{part}.tar.gz").rename(known / "dev-clean-2.tar.gz")


@pytest.mark.parametrize(
    "mirror_address", ["http://example.org/x", "ftp://example.org", "file:///tmp"]
)
def test_a_mirror_is_asked_by_https(tmp_path: Path, mirror_address: str) -> None:
    options = ["--parts", "dev-clean", "--download", "--mirror", mirror_address]
    with pytest.raises(UserError, match="is no https address; name one that begins with https://"):
        prepare(tmp_path, tmp_path / "out", *options)
