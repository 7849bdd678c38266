from __future__ import annotations

from pathlib import Path

import pytest
from data_prep_helpers import cut_short, cuts_of, make_librispeech, rejects_of, summary_of

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
        (["--download"], "--download needs --parts"),
    ],
)
def test_missing_parts_are_explained(tmp_path: Path, more: list[str], message: str) -> None:
    make_librispeech(tmp_path / "LibriSpeech", {"dev-clean": ["1-2-0000"]})
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, tmp_path / "out", *more)


def test_wrong_roots_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        prepare(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(UserError, match=r"no part of LibriSpeech found; expected .*trans\.txt"):
        prepare(tmp_path, tmp_path / "out")
    (tmp_path / "dev-clean").mkdir()
    with pytest.raises(UserError, match="no transcripts in"):
        prepare(tmp_path, tmp_path / "out")


def test_download_fetches_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lhotse.recipes import librispeech as recipe

    make_librispeech(tmp_path / "LibriSpeech", {"dev-clean": ["1-2-0000"]})
    asked: list[str] = []

    def download(target: Path, parts: list[str]) -> None:
        asked.extend(parts)
        make_librispeech(target / "LibriSpeech", {part: ["3-4-0000"] for part in parts})

    monkeypatch.setattr(recipe, "download_librispeech", download)
    parts = ["--parts", "dev-clean", "test-clean", "--download"]
    assert prepare(tmp_path, tmp_path / "out", *parts) == 0
    assert asked == ["test-clean"]
    assert list(summary_of(tmp_path / "out")["sets"]) == ["dev-clean", "test-clean"]


@pytest.mark.skipif(not _SAMPLE.is_dir(), reason="the genuine sample is not on this machine")
def test_the_genuine_sample(tmp_path: Path) -> None:
    assert prepare(_SAMPLE, tmp_path / "out") == 0
    sets = summary_of(tmp_path / "out")["sets"]
    counts = {name: (one["utterances"], one["speakers"]) for name, one in sets.items()}
    assert counts == {"train-clean-100": (250, 250), "test-clean": (4, 1), "dev-clean": (2, 1)}
    minutes = {name: round(one["hours"] * 60, 1) for name, one in sets.items()}
    assert minutes == {"train-clean-100": 52.1, "test-clean": 0.4, "dev-clean": 0.4}
    assert rejects_of(tmp_path / "out") == []
