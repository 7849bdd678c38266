from __future__ import annotations

from pathlib import Path

import pytest
from data_prep_helpers import (
    cuts_of,
    make_bad_files,
    rejects_of,
    summary_of,
    write_audio,
)
from hypothesis import given
from hypothesis import strategies as st

from asr.data_prep import cli
from asr.errors import UserError


def prepare(root: Path, output: Path, *more: str) -> int:
    return cli.main(["folder", "--root", str(root), "--output", str(output), "--jobs", "2", *more])


def test_only_the_bad_files_of_a_folder_are_left_out(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    good = [write_audio(root / f"good{number}.wav") for number in range(3)]
    reasons = make_bad_files(root)
    write_audio(root / "stereo.wav", seconds=0.5, rate_hz=48_000, channels=2)

    assert prepare(root, output) == 0

    assert {line["id"]: line["reason"] for line in rejects_of(output)} == reasons
    assert all(Path(line["path"]).is_file() and line["detail"] for line in rejects_of(output))
    cuts = {cut.id: cut for cut in cuts_of(output, "untranscribed")}
    assert set(cuts) == {"stereo", *(path.stem for path in good)}
    for cut in cuts.values():
        assert cut.sampling_rate == 16_000
        assert cut.load_audio().shape == (1, cut.num_samples)
        assert Path(cut.recording.sources[0].source).is_absolute()
    assert cuts["stereo"].num_samples == 8_000
    counts = summary_of(output)["sets"]["untranscribed"]
    assert counts["converted"] == 1
    assert counts["rejects"] == dict.fromkeys(reasons.values(), 1)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.aiff"])
def test_other_containers_become_flac(tmp_path: Path, name: str) -> None:
    write_audio(tmp_path / "in" / name, seconds=1.0)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    (cut,) = cuts_of(tmp_path / "out", "untranscribed")
    source = Path(cut.recording.sources[0].source)
    assert source.parent == tmp_path / "out" / "audio" / "untranscribed"
    assert (source.suffixes[-1], source.stem.split(".")[0]) == (".flac", "a")
    assert cut.load_audio().shape == (1, 16_000)


def test_transcripts_by_id_and_by_path(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for name in ("x/one.wav", "x/two.flac", "three.wav"):
        write_audio(root / name)
    (root / "transcripts.tsv").write_text("x/one\tone  word\nx/two.flac\tcafe\u0301\n")
    assert prepare(root, output) == 0
    labelled = {cut.id: cut.supervisions[0].text for cut in cuts_of(output, "labelled")}
    assert labelled == {"x/one": "one word", "x/two": "caf\u00e9"}
    assert [cut.id for cut in cuts_of(output, "untranscribed")] == ["three"]
    counts = summary_of(output)["sets"]["labelled"]
    assert (counts["utterances"], counts["words"], counts["characters"]) == (2, 3, 12)
    assert counts["hours"] == pytest.approx(0.8 / 3600, abs=1e-6)


def test_set_name_renames_both_sets(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    write_audio(root / "a.wav")
    write_audio(root / "b.wav")
    table = tmp_path / "texts"
    table.write_text("a\tone\n")
    assert prepare(root, output, "--transcripts", str(table), "--set-name", "dev") == 0
    assert len(cuts_of(output, "dev")) == len(cuts_of(output, "dev-untranscribed")) == 1


def test_faults_of_transcripts_are_rejects_with_a_place(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for name in ("a.wav", "b.wav", "b.flac", "c.wav", "d.wav"):
        write_audio(root / name)
    table = root / "transcripts.tsv"
    table.write_text("a\tgood\nno tab here\na\tagain\nc\twhat?\nd\t \nlost\ttext\n")
    assert prepare(root, output, "--characters", "abcdefghijklmnopqrstuvwxyz") == 0
    rejects = {(line["id"], line["reason"]): line for line in rejects_of(output)}
    assert set(rejects) == {
        ("no tab here", "malformed_line"),
        ("a", "duplicate_id"),
        ("b", "duplicate_id"),
        ("c", "text_characters"),
        ("d", "empty_text"),
        ("lost", "missing_audio"),
    }
    assert f"{table}:2" in rejects["no tab here", "malformed_line"]["detail"]
    assert f"{table}:6" in rejects["lost", "missing_audio"]["detail"]
    assert rejects["b", "duplicate_id"]["path"].endswith("b.wav")
    assert "'?'" in rejects["c", "text_characters"]["detail"]


def test_too_many_rejects_fail_but_are_shown(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for number in range(20):
        write_audio(root / f"good{number:02}.wav", seconds=0.1)
    for number in range(5):
        (root / f"bad{number}.wav").touch()
    with pytest.raises(UserError, match=r"5 of 25 .*max-reject-share 0\.1"):
        prepare(root, output)
    assert len(rejects_of(output)) == 5
    assert not (output / "summary.json").exists()
    assert not list(output.glob("*.jsonl.gz"))
    assert prepare(root, output, "--max-reject-share", "0.2") == 0
    assert len(cuts_of(output, "untranscribed")) == 20


def test_nothing_usable_is_an_error_however_small_the_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_bad_files(tmp_path / "in")
    with pytest.raises(UserError, match=r"nothing is usable.*rejects\.jsonl"):
        prepare(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--transcripts", "/nowhere.tsv"], "/nowhere.tsv"),
        (["--set-name", "../x"], "--set-name"),
    ],
)
def test_wrong_options_are_explained(tmp_path: Path, more: list[str], message: str) -> None:
    write_audio(tmp_path / "in" / "a.wav")
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "in", tmp_path / "out", *more)


def test_wrong_roots_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        prepare(tmp_path / "missing", tmp_path / "out")
    write_audio(tmp_path / "a.wav", seconds=1.0)
    with pytest.raises(UserError, match=r"a\.wav: is a file; name the folder"):
        prepare(tmp_path / "a.wav", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no audio found"):
        prepare(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="is the corpus itself"):
        prepare(tmp_path / "empty", tmp_path / "empty")


def test_an_output_inside_the_folder_is_not_input(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.ogg", seconds=1.0)
    assert prepare(tmp_path, tmp_path / "out") == 0
    assert prepare(tmp_path, tmp_path / "out", "--set-name", "x") == 0
    assert [cut.id for cut in cuts_of(tmp_path / "out", "x-untranscribed")] == ["a"]
    assert [cut.id for cut in cuts_of(tmp_path / "out", "untranscribed")] == ["a"]


@given(st.text(alphabet=" ab'\t\né\u0301"))
def test_cleaning_is_stable(text: str) -> None:
    from asr.data_prep.corpora.formats.tables import clean_text

    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert clean == clean.strip()
    assert "  " not in clean
