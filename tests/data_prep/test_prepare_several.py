"""Several calls into one folder: each replaces its own sets and no other."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from data_prep_helpers import (
    cuts_of,
    make_librispeech,
    make_voice,
    published,
    rejects_of,
    summary_of,
    write_audio,
)

from asr.data_prep import cli, contents, manifests, pipeline, recordings
from asr.errors import UserError


def prepare(root: Path, output: Path, *more: str) -> int:
    return cli.main(["folder", "--root", str(root), "--output", str(output), "--jobs", "1", *more])


def librispeech(root: Path, output: Path, *parts: str) -> int:
    arguments = ["librispeech", "--root", str(root), "--output", str(output), "--jobs", "1"]
    return cli.main([*arguments, "--parts", *parts])


def make_folder(folder: Path, text: str = "one", seconds: float = 0.4) -> Path:
    """A labelled wav and ogg, a plain wav, and a reject of each kind of set."""
    for name in ("a.wav", "b.ogg", "c.wav"):
        write_audio(folder / name, seconds=seconds)
    (folder / "bad.wav").touch()
    (folder / "transcripts.tsv").write_text(f"a\t{text}\nb\t{text}\nlost\t{text}\n")
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "train")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "dev", "two", seconds=0.7)


def texts(output: Path, name: str) -> set[str]:
    return {cut.supervisions[0].text for cut in cuts_of(output, name)}


def bytes_of(output: Path, name: str) -> bytes:
    return (output / f"{name}.jsonl.gz").read_bytes()


def test_train_and_dev_in_one_folder(train: Path, dev: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert prepare(train, output) == 0
    before = bytes_of(output, "labelled")
    assert prepare(dev, output, "--set-name", "dev") == 0
    assert bytes_of(output, "labelled") == before
    assert (texts(output, "labelled"), texts(output, "dev")) == ({"one"}, {"two"})
    sets = ["labelled", "untranscribed", "dev", "dev-untranscribed"]
    assert sorted(summary_of(output)["sets"]) == sorted(sets)
    found = {(line["set"], line["reason"]) for line in rejects_of(output)}
    assert found == {
        (name, "empty" if "untranscribed" in name else "missing_audio") for name in sets
    }


def test_converted_audio_of_two_roots_is_kept_apart(train: Path, dev: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(train, output)
    prepare(dev, output, "--set-name", "dev")
    for name, samples in (("labelled", 6400), ("dev", 11_200)):
        cut = next(cut for cut in cuts_of(output, name) if cut.id == "b")
        assert cut.load_audio().shape == (1, samples)


def test_each_call_is_recognised_when_repeated(
    train: Path, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    calls = [(train,), (dev, "--set-name", "dev")]
    for root, *more in calls:
        prepare(root, output, *more)
    before = summary_of(output)
    monkeypatch.setattr(recordings, "check_audio", lambda path: pytest.fail("decoded again"))
    for root, *more in calls:
        assert prepare(root, output, *more) == 0
    assert summary_of(output) == before


def test_preparing_a_root_again_replaces_its_sets_alone(
    train: Path, dev: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    prepare(train, output)
    prepare(dev, output, "--set-name", "dev")
    before = bytes_of(output, "dev")
    # Now all of it has a transcript, and nothing is rejected: no trace of what was.
    (train / "bad.wav").unlink()
    (train / "transcripts.tsv").write_text("a\tthree\nb\tthree\nc\tthree\n")
    prepare(train, output)
    assert texts(output, "labelled") == {"three"}
    assert not (output / "untranscribed.jsonl.gz").exists()
    assert list(summary_of(output)["sets"]) == ["dev", "dev-untranscribed", "labelled"]
    assert {line["set"] for line in rejects_of(output)} == {"dev", "dev-untranscribed"}
    assert bytes_of(output, "dev") == before


def test_sets_of_another_root_are_not_replaced(train: Path, dev: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(train, output)
    before = {name: (output / name).read_bytes() for name in published(output)}
    with pytest.raises(UserError, match=rf"'labelled' of {train} .*{dev}.*--set-name.*--output"):
        prepare(dev, output)
    assert {name: (output / name).read_bytes() for name in published(output)} == before
    # The same folder by another name is not another root.
    (tmp_path / "link").symlink_to(train)
    assert prepare(tmp_path / "link", output) == 0


def test_roots_that_have_no_set_in_common_need_no_names(tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_audio(tmp_path / "with" / "a.wav")
    (tmp_path / "with" / "transcripts.tsv").write_text("a\tone\n")
    write_audio(tmp_path / "without" / "b.wav")
    for root in ("with", "without", "with", "without"):
        assert prepare(tmp_path / root, output) == 0
    assert [cut.id for cut in cuts_of(output, "labelled")] == ["a"]
    assert [cut.id for cut in cuts_of(output, "untranscribed")] == ["b"]


@pytest.mark.parametrize("place", ["check_audio", "write_cuts", "_rename_all", "_judge"])
def test_a_stopped_call_spares_the_other_sets(
    train: Path, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    output = tmp_path / "out"
    prepare(train, output)
    prepare(dev, output, "--set-name", "dev")
    before = {name: bytes_of(output, name) for name in ("labelled", "untranscribed")}
    counts, rejects = summary_of(output)["sets"], rejects_of(output)
    write_audio(dev / "new.wav")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        where = {"write_cuts": manifests, "_rename_all": contents, "_judge": pipeline}.get(
            place, recordings
        )
        patch.setattr(where, place, crash)
        with pytest.raises(KeyboardInterrupt):
            prepare(dev, output, "--set-name", "dev")
    assert {name: bytes_of(output, name) for name in before} == before
    assert not (output / "dev.jsonl.gz").exists()
    left = summary_of(output)["sets"]
    assert left == {name: counts[name] for name in before}
    assert [one for one in rejects_of(output) if one["set"] in before] == rejects[:2]

    assert prepare(dev, output, "--set-name", "dev") == 0
    assert summary_of(output)["sets"]["dev-untranscribed"]["utterances"] == 2
    assert len(rejects_of(output)) == 4
    assert not (output / ".partial").exists()


def test_work_of_a_stopped_call_outlives_another_call(
    train: Path, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, checked = tmp_path / "out", []
    check_audio = recordings.check_audio

    def counting(path: Path) -> object:
        checked.append(path)
        if len(checked) == 4:
            raise KeyboardInterrupt
        return check_audio(path)

    monkeypatch.setattr(recordings, "check_audio", counting)
    with pytest.raises(KeyboardInterrupt):
        prepare(train, output)
    prepare(dev, output, "--set-name", "dev")
    checked.clear()
    prepare(train, output)
    # A fault is looked at again, the rest is known but for what was lost with the crash.
    assert {path.name for path in checked} == {"bad.wav", "c.wav"}
    assert len(cuts_of(output, "labelled")) == 2


def test_parts_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"train-clean-100": ["19-198-0000"], "dev-clean": ["84-1-0000"]}
    output = tmp_path / "out"
    make_librispeech(tmp_path / "LibriSpeech", parts)
    for part in parts:
        assert librispeech(tmp_path, output, part) == 0
    assert list(summary_of(output)["sets"]) == list(parts)
    assert [cuts_of(output, part)[0].id for part in parts] == ["19-198-0000", "84-1-0000"]
    with monkeypatch.context() as patch:
        patch.setattr(recordings, "check_audio", lambda path: pytest.fail("decoded again"))
        for part in parts:
            assert librispeech(tmp_path, output, part) == 0
    # Together they are one preparation; then one of them again takes its set out of that.
    assert librispeech(tmp_path, output, *parts) == 0
    assert len(summary_of(output)["preparations"]) == 1
    assert librispeech(tmp_path, output, "dev-clean") == 0
    owned = [one["sets"] for one in summary_of(output)["preparations"]]
    assert owned == [["train-clean-100"], ["dev-clean"]]
    capsys.readouterr()
    assert librispeech(tmp_path, output, *parts) == 0
    assert "already prepared" not in capsys.readouterr().out


def test_references_of_a_set_go_with_it(tmp_path: Path) -> None:
    output = tmp_path / "out"
    source = make_voice(tmp_path / "v", [f"слово {'а' * n}" for n in range(1, 40)])
    call = ["festvox_ru", "--source", str(source), "--output", str(output), "--jobs", "1"]
    cli.main(call)
    assert (output / "references" / "untranscribed.tsv").is_file()
    cli.main([*call, "--labelled-share", "1"])
    assert published(output) == [
        *("dev.jsonl.gz", "labelled.jsonl.gz", "summary.json", "test.jsonl.gz")
    ]


def test_two_calls_at_a_time_are_refused(train: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    refused = pytest.raises(UserError, match="another preparation is writing")
    with contents.opened_contents(output, "folder"), refused:
        prepare(train, output)
    assert prepare(train, output) == 0


@pytest.mark.parametrize("summary", ["", "[]", "{}", '{"corpus": "folder", "preparations": [1]}'])
def test_a_damaged_summary_is_no_obstacle(train: Path, tmp_path: Path, summary: str) -> None:
    output = tmp_path / "out"
    prepare(train, output)
    (output / "summary.json").write_text(summary)
    assert prepare(train, output) == 0
    assert list(summary_of(output)["sets"]) == ["labelled", "untranscribed"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:40] + b"\xff" * 40 + whole[80:],
        lambda whole: whole[:-8] + b"\0" * 8,
        lambda whole: b"",
        lambda whole: b"hello\n",
        lambda whole: gzip.compress(b""),
        lambda whole: gzip.compress(b"\xff\xfe\n"),
        lambda whole: gzip.compress(b"3\n"),
    ],
)
def test_a_damaged_manifest_is_named(train: Path, tmp_path: Path, damage: object) -> None:
    output = tmp_path / "out"
    prepare(train, output)
    path = output / "labelled.jsonl.gz"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"^{path}: .*run `asr prepare` again"):
        manifests.read_cuts(path)
