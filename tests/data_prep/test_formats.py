"""Kaldi, NeMo, Lhotse and Hugging Face: the same corpus in any form is the same prepared set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import soundfile
from data_prep_helpers import cuts_of, make_librispeech, rejects_of, summary_of, write_audio
from lhotse import CutSet, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.kaldi import load_kaldi_data_dir
from lhotse.recipes import prepare_librispeech

from asr.data_prep import cli
from asr.errors import UserError

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "librispeech-sample" / "LibriSpeech"
PART = "dev-clean"


def prepare(*arguments: str | Path) -> int:
    return cli.main([*map(str, arguments), "--jobs", "1"])


def said(output: Path, name: str = "labelled") -> dict[str, tuple[Any, ...]]:
    """Of each utterance all that training sees of it, by id."""
    found = {}
    for cut in cuts_of(output, name):
        one = cut.supervisions[0]
        audio = cut.load_audio()
        assert audio.shape == (1, cut.num_samples)
        found[cut.id] = (one.text, cut.duration, one.speaker, audio.tobytes())
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Any, ...]]]:
    """A part of LibriSpeech, real or made, and what its own command makes of it."""
    folder = tmp_path_factory.mktemp("sample")
    corpus = SAMPLE
    if not (corpus / PART).is_dir():
        corpus = folder / "LibriSpeech"
        make_librispeech(corpus, {PART: ["2412-153948-0000", "2412-153948-0001"]})
    options = ("--root", corpus, "--parts", PART, "--output", folder / "own")
    assert prepare("librispeech", *options) == 0
    return corpus, said(folder / "own", PART)


def as_kaldi(corpus: Path, folder: Path, segments: bool = False) -> list[str]:
    data, files = folder / "data", sorted((corpus / PART).glob("*/*/*.flac"))
    data.mkdir()
    name = (lambda file: f"rec-{file.stem}") if segments else (lambda file: file.stem)
    (data / "wav.scp").write_text("".join(f"{name(file)} {file}\n" for file in files))
    texts = [p.read_text() for p in sorted((corpus / PART).glob("*/*/*.trans.txt"))]
    (data / "text").write_text("".join(texts))
    speakers = "".join(f"{file.stem} {file.stem.split('-')[0]}\n" for file in files)
    (data / "utt2spk").write_text(speakers)
    if segments:
        lines = [
            f"{file.stem} rec-{file.stem} 0.00 {soundfile.info(file).duration:.2f}\n"
            for file in files
        ]
        (data / "segments").write_text("".join(lines))
    return ["kaldi", str(data)]


def as_nemo(corpus: Path, folder: Path) -> list[str]:
    lines = []
    for table in sorted((corpus / PART).glob("*/*/*.trans.txt")):
        for line in table.read_text().splitlines():
            name, _, text = line.partition(" ")
            file = table.parent / f"{name}.flac"
            seconds = round(soundfile.info(file).duration, 3)
            speaker = name.split("-")[0]
            record = {"audio_filepath": str(file), "duration": seconds, "text": text}
            lines.append(json.dumps({**record, "speaker": speaker}) + "\n")
    (folder / "manifest.json").write_text("".join(lines))
    return ["nemo", str(folder / "manifest.json")]


def as_lhotse(corpus: Path, folder: Path, cuts: bool = False) -> list[str]:
    parts = prepare_librispeech(corpus, dataset_parts=[PART], output_dir=folder)
    if cuts:
        CutSet.from_manifests(**parts[PART]).to_file(folder / "cuts.jsonl.gz")
        return ["lhotse", "--cuts", str(folder / "cuts.jsonl.gz")]
    stem = str(folder / f"librispeech_{{}}_{PART}.jsonl.gz").format
    return ["lhotse", "--recordings", stem("recordings"), "--supervisions", stem("supervisions")]


def as_arrow(corpus: Path, folder: Path) -> list[str]:
    rows = []
    for table in sorted((corpus / PART).glob("*/*/*.trans.txt")):
        for line in table.read_text().splitlines():
            name, _, text = line.partition(" ")
            audio = {"bytes": (table.parent / f"{name}.flac").read_bytes(), "path": f"{name}.flac"}
            speaker = int(name.split("-")[0])
            rows.append({"id": name, "audio": audio, "text": text, "speaker_id": speaker})
    write_arrow(folder / "saved", {"": rows})
    return ["huggingface", str(folder / "saved")]


def write_arrow(folder: Path, splits: Mapping[str, list[dict[str, Any]]]) -> None:
    """As Dataset.save_to_disk, or DatasetDict's, lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    if "" not in splits:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    for split, rows in splits.items():
        place = folder / split
        place.mkdir(exist_ok=True)
        table, name = pyarrow.Table.from_pylist(rows), "data-00000-of-00001.arrow"
        with (
            pyarrow.OSFile(str(place / name), "wb") as sink,
            pyarrow.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))


@pytest.mark.parametrize(
    "write",
    [
        as_kaldi,
        lambda corpus, folder: as_kaldi(corpus, folder, segments=True),
        as_nemo,
        as_lhotse,
        lambda corpus, folder: as_lhotse(corpus, folder, cuts=True),
        as_arrow,
    ],
    ids=["kaldi", "kaldi-segments", "nemo", "lhotse", "lhotse-cuts", "huggingface"],
)
def test_every_form_of_a_corpus_is_the_same_set(
    sample: tuple[Path, dict[str, tuple[Any, ...]]],
    tmp_path: Path,
    write: Callable[[Path, Path], list[str]],
) -> None:
    corpus, expected = sample
    assert prepare(*write(corpus, tmp_path), "--output", tmp_path / "out") == 0
    assert said(tmp_path / "out") == expected
    assert rejects_of(tmp_path / "out") == []


@pytest.fixture
def meeting(tmp_path: Path) -> Path:
    """Four seconds of two channels at 8 kHz: a ramp that says where one is, and the same upside down."""
    ramp = np.linspace(-0.5, 0.5, 32_000, dtype=np.float32)
    soundfile.write(tmp_path / "meeting.wav", np.stack([ramp, -ramp], axis=1), 8_000)
    return tmp_path / "meeting.wav"


def test_supervisions_of_a_long_recording(meeting: Path, tmp_path: Path) -> None:
    recordings = RecordingSet.from_dir(tmp_path, "*.wav")
    texts = [
        SupervisionSegment("c", "meeting", 3.0, 0.5, channel=1, text="third", speaker="b"),
        SupervisionSegment("a", "meeting", 0.5, 1.0, channel=0, text="first", speaker="a"),
        SupervisionSegment("over", "meeting", 1.2, 0.5, channel=0, text="overlapping"),
        SupervisionSegment("late", "meeting", 3.9, 3.0, channel=0, text="beyond the end"),
        SupervisionSegment("rounded", "meeting", 3.5, 0.6, channel=0, text="a little beyond"),
        SupervisionSegment("none", "meeting", 0.5, 1.0, channel=5, text="no such channel"),
        SupervisionSegment("lost", "elsewhere", 0.0, 1.0, text="no such recording"),
        SupervisionSegment("mute", "meeting", 2.0, 0.5, channel=0),
    ]
    recordings.to_file(tmp_path / "r.jsonl.gz")
    SupervisionSet.from_segments(texts).to_file(tmp_path / "s.jsonl.gz")
    options = ("--recordings", tmp_path / "r.jsonl.gz", "--supervisions", tmp_path / "s.jsonl.gz")
    assert prepare("lhotse", *options, "--output", tmp_path / "out") == 0

    cuts = {cut.id: cut for cut in cuts_of(tmp_path / "out", "labelled")}
    assert list(cuts) == ["c", "a", "over", "rounded"]
    assert {cut.sampling_rate for cut in cuts.values()} == {16_000}
    first, third = cuts["a"], cuts["c"]
    assert first.recording.sources[0].source != third.recording.sources[0].source
    assert (first.start, first.duration, first.supervisions[0].start) == (0.5, 1.0, 0.0)
    ramp = np.linspace(-0.5, 0.5, 64_000)
    assert np.abs(first.load_audio()[0] - ramp[8_000:24_000]).max() < 0.01
    assert np.abs(third.load_audio()[0] + ramp[48_000:56_000]).max() < 0.01
    assert cuts["rounded"].duration == 0.5
    assert [cut.id for cut in cuts_of(tmp_path / "out", "untranscribed")] == ["mute"]
    reasons = {line["id"]: line["reason"] for line in rejects_of(tmp_path / "out")}
    assert reasons == {"late": "beyond_end", "none": "malformed_line", "lost": "missing_recording"}
    # One file a channel, however many utterances are in it.
    assert len(list((tmp_path / "out" / "audio").rglob("*.flac"))) == 3

    assert prepare("lhotse", *options, "--output", tmp_path / "apart", "--reject-overlapping") == 0
    counts = summary_of(tmp_path / "apart")["sets"]["labelled"]
    assert counts["rejects"]["overlapping"] == 4
    assert [cut.id for cut in cuts_of(tmp_path / "apart", "labelled")] == ["c"]


def test_kaldi_s_segments_are_those_that_lhotse_reads(tmp_path: Path) -> None:
    write_audio(tmp_path / "audio" / "talk one.wav", seconds=3.0)
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"rec {tmp_path / 'audio' / 'talk one.wav'}\n")
    (data / "segments").write_text("u2 rec 1.5 2.5\nu1 rec 0.0 1.25\n")
    (data / "text").write_text("u1 eins zwei\nu2 drei\n")
    (data / "utt2spk").write_text("u1 s\nu2 t\n")
    (data / "spk2gender").write_text("s f\nt m\n")
    (data / "utt2lang").write_text("u1 German\nu2 German\n")
    (data / "reco2dur").write_text("rec 3.0\n")
    assert prepare("kaldi", data, "--output", tmp_path / "out") == 0
    recordings, supervisions, _ = load_kaldi_data_dir(data, 16_000)
    assert supervisions is not None
    theirs = CutSet.from_manifests(recordings, supervisions).trim_to_supervisions()
    expected = {c.supervisions[0].id: c for c in theirs}
    ours = {cut.id: cut for cut in cuts_of(tmp_path / "out", "labelled")}
    assert ours.keys() == expected.keys()
    for name, cut in ours.items():
        assert cut.load_audio().tobytes() == expected[name].load_audio().tobytes()
        a, b = cut.supervisions[0], expected[name].supervisions[0]
        assert (a.text, a.speaker, a.gender) == (b.text, b.speaker, b.gender)
    assert ours["u1"].supervisions[0].language == "German"


def test_splits_and_columns_of_a_saved_data_set(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav")
    audio = {"bytes": (tmp_path / "a.wav").read_bytes(), "path": None}
    rows = [{"audio": audio, "said": "one", "age": 7}, {"audio": audio, "said": None, "age": 8}]
    write_arrow(tmp_path / "saved", {"train": rows, "dev": rows[:1]})
    options = ("--output", tmp_path / "out", "--text-column")
    with pytest.raises(UserError, match="no column 'siad'; it has audio, said, age; name it"):
        prepare("huggingface", tmp_path / "saved", *options, "siad")
    assert prepare("huggingface", tmp_path / "saved", *options, "said") == 0
    (one,) = cuts_of(tmp_path / "out", "train")
    assert one.supervisions[0].text == "one"
    assert one.supervisions[0].custom == {"age": 7}
    assert len(cuts_of(tmp_path / "out", "train-untranscribed")) == 1
    assert len(cuts_of(tmp_path / "out", "dev")) == 1
