"""`asr prepare segment`: cuts of long recordings, and that each loads as it is in the whole."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from data_prep_helpers import cut_short, cuts_of, rejects_of, summary_of, write_nan_wav
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.data.audio import read_audio
from asr.data.dataset import SpeechSet
from asr.data.mp3_frames import mp3_frames
from asr.data.reading import load_samples
from asr.data_prep import cli
from asr.data_prep.segmentation import prepare as module
from asr.data_prep.segmentation import recording
from asr.data_prep.segmentation.utterances import Limits, utterances
from asr.data_prep.segmentation.voice_activity import FRAME, Activity
from asr.errors import UserError


def talk(seconds: float = 30.0, rate_hz: int = 16_000, channels: int = 1) -> Any:
    """(N, channels): bursts of noise, as long as words and phrases, with pauses."""
    random = np.random.default_rng(int(seconds))
    audio = 3e-4 * random.standard_normal((round(seconds * rate_hz), channels))
    at = 1.0
    while at + 5 < seconds:
        length = random.uniform(0.4, 4.0)
        part = audio[round(at * rate_hz) : round((at + length) * rate_hz)]
        part += 0.1 * random.standard_normal(part.shape)
        at += length + random.uniform(0.2, 2.0)
    return audio.astype(np.float32)


def write(path: Path, audio: Any, rate_hz: int = 16_000, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    how.setdefault("format", {".mp3": "MP3", ".ogg": "OGG"}.get(path.suffix))
    with soundfile.SoundFile(path, "w", rate_hz, audio.shape[1], **how) as file:
        for begin in range(0, len(audio), rate_hz):  # libsndfile's Vorbis dies of long blocks
            file.write(audio[begin : begin + rate_hz])
    return path


def segment(root: Path, output: Path, *more: str) -> int:
    return cli.main(
        [
            *("segment", "--root", str(root), "--output", str(output), "--vad", "energy"),
            *("--jobs", "1", *more),
        ]
    )


def test_what_is_loaded_is_a_part_of_the_whole_file_and_nothing_is_copied(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    files = [
        write(root / "plain.wav", talk()),
        write(root / "phone.flac", talk(20, 8_000), 8_000),
        write(root / "разговор 2.wav", talk(25, 44_100, 2), 44_100),
        write(root / "talk.mp3", talk(40)),
        write(root / "stereo.mp3", talk(20, 44_100, 2), 44_100, bitrate_mode="VARIABLE"),
        write(root / "talk.ogg", talk(35, 22_050), 22_050, subtype="VORBIS"),
        write(root / "wrong_plug.wav", talk(22) * [1.0, -1.0]),
    ]
    assert segment(root, output) == 0
    assert not (output / "audio").exists()
    assert rejects_of(output) == []
    cuts = SpeechSet.load(output / "untranscribed.jsonl.gz").at_rate(16_000).cuts
    sources = {cut.recording.sources[0].source for cut in cuts}
    assert sources == {str(path) for path in files}
    whole = {str(path): read_audio(path, 16_000).numpy() for path in files}
    for cut in cuts:
        assert 1.0 <= cut.duration <= 20.0
        [samples] = load_samples(cut)
        first = round(cut.start * 16_000)
        wanted = whole[cut.recording.sources[0].source][first : first + cut.num_samples]
        np.testing.assert_allclose(samples, wanted, atol=2e-6)
        faster = load_samples(cut, 1.1)
        assert faster.shape == (1, pytest.approx(cut.num_samples / 1.1, abs=2))
    counts = summary_of(output)["sets"]["untranscribed"]
    hours = sum(len(audio) for audio in whole.values()) / 16_000 / 3600
    assert counts["recorded_hours"] == pytest.approx(hours, rel=1e-3)
    assert counts["non_speech_hours"] == pytest.approx(hours - counts["hours"], abs=1e-4)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "how"),
    [(16_000, 1, {}), (44_100, 2, {"bitrate_mode": "VARIABLE"}), (8_000, 1, {})],
)
def test_a_part_of_an_mp3_is_decoded_from_its_own_frames(
    tmp_path: Path, rate_hz: int, channels: int, how: dict[str, str], capfd: Any
) -> None:
    path = write(tmp_path / "a.mp3", talk(20, rate_hz, channels), rate_hz, **how)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0]
    frames = mp3_frames(path)
    assert frames is not None
    capfd.readouterr()
    for first in (0, 1, 700, 5_000, len(whole) // 2, len(whole) - 9_000):
        place = frames.place(first, 8_000)
        assert place.count < 60_000
        part = soundfile.SoundFile(place.stream(path)).read(
            place.skipped + 8_000, dtype="float32", always_2d=True
        )
        wanted = whole[first : first + 8_000]
        np.testing.assert_allclose(part[place.skipped :], wanted, atol=1e-6)
    assert capfd.readouterr().err == "", "decoders complain of frames whose bits are missing"


def test_each_hostile_file_has_its_reason_and_no_good_one_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for name in ("twice.wav", "twice.flac", "deep/с пробелом.wav"):
        write(root / name, talk())
    write(root / "many.wav", talk(12, 192_000, 8), 192_000)
    cut_short(write(root / "cut.wav", talk()))
    pages = write(root / "pages.ogg", talk(), subtype="VORBIS")
    pages.write_bytes(b"OggS".join(pages.read_bytes().split(b"OggS")[:-2]))
    write_nan_wav(root / "nan.wav")
    (root / "nothing.mp3").touch()
    (root / "letter.wav").write_text("This is not audio.\n" * 50)
    (root / "film.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(9_000))
    os.symlink(tmp_path / "gone.wav", root / "gone.wav")
    write(root / "odd.wav", talk(6, 44_101), 44_101)
    write(root / "silence.flac", np.zeros((16_000 * 600, 1), np.float32))
    assert segment(root, output) == 0
    assert {line["id"]: line["reason"] for line in rejects_of(output)} == {
        "cut": "truncated",
        "pages": "truncated",
        "nan": "non_finite",
        "nothing": "empty",
        "letter": "unreadable",
        "film": "unreadable",
        "gone": "missing_audio",
        "odd": "odd_rate",
        "silence": "no_speech",
    }
    said = capsys.readouterr().out
    for line in rejects_of(output):
        assert f"left out: {line['path']}: {line['reason']}: " in said
    names = {cut.id.rsplit("-", 2)[0] for cut in cuts_of(output, "untranscribed")}
    assert names == {"twice.wav", "twice.flac", "deep/с пробелом", "many"}


def test_an_interrupted_call_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for name in "abc":
        write(root / f"{name}.wav", talk())
    seen, real = list[str](), recording.Cutter.__call__

    def watched(self: recording.Cutter, path: Path) -> Any:
        seen.append(path.stem)
        if path.stem == "c" and seen.count("c") == 1:
            raise KeyboardInterrupt
        return real(self, path)

    monkeypatch.setattr(recording.Cutter, "__call__", watched)
    with pytest.raises(KeyboardInterrupt):
        segment(root, output)
    assert not (output / "untranscribed.jsonl.gz").exists()
    assert segment(root, output) == 0
    assert seen == ["a", "b", "c", "c"]
    assert segment(root, output, "--max-seconds", "5") == 0
    assert seen[4:] == ["a", "b", "c"], "other limits are other cuts"
    assert max(cut.duration for cut in cuts_of(output, "untranscribed")) <= 5


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write(root / "a.wav", talk())
    with pytest.raises(UserError, match="--min-seconds 12"):
        segment(root, tmp_path / "out", "--min-seconds", "12")
    with pytest.raises(UserError, match="no such folder"):
        segment(tmp_path / "none", tmp_path / "out")
    with pytest.raises(UserError, match="a name becomes a file"):
        segment(root, tmp_path / "out", "--set-name", "a/b")


@pytest.mark.slow
def test_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        write(tmp_path / f"in/{name}.wav", talk())
    assert segment(tmp_path / "in", tmp_path / "one") == 0
    monkeypatch.setattr(module, "_FEWEST_BYTES_FOR_PROCESSES", 0)
    assert segment(tmp_path / "in", tmp_path / "two", "--jobs", "2") == 0
    name = "untranscribed.jsonl.gz"
    one, two = (gzip.decompress((tmp_path / out / name).read_bytes()) for out in ("one", "two"))
    assert one == two


def test_it_shares_its_folder_with_the_sets_of_prepare_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled, podcasts, output = tmp_path / "labelled", tmp_path / "long", tmp_path / "out"
    write(labelled / "a.wav", talk(6))
    (labelled / "transcripts.tsv").write_text("a\tyes\n")
    write(podcasts / "b.wav", talk(60))
    whole = ["folder", "--root", str(podcasts), "--output", str(tmp_path / "whole"), "--jobs", "1"]
    assert cli.main(whole) == 0
    said = capsys.readouterr().out
    assert "1 of 1 utterances are longer than a recipe takes" in said
    assert f"asr prepare segment --root {podcasts}" in said
    assert cli.main(["folder", "--root", str(labelled), "--output", str(output)]) == 0
    assert segment(podcasts, output) == 0
    assert set(summary_of(output)["sets"]) == {"labelled", "untranscribed"}
    assert len(cuts_of(output, "labelled")) == 1


def test_a_folder_is_prepared_without_its_silent_files(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    write(root / "talk.wav", talk(20, 8_000), 8_000)
    write(root / "hum.wav", 0.05 * np.random.default_rng(0).standard_normal((80_000, 1)))
    command = ["folder", "--root", str(root), "--output", str(output), "--vad", "energy"]
    assert cli.main(command) == 0
    assert [cut.id for cut in cuts_of(output, "untranscribed")] == ["talk"]
    assert [line["reason"] for line in rejects_of(output)] == ["no_speech"]


@settings(deadline=None, max_examples=30)
@example(lengths=[5, 16, 292], begins_with_speech=True)
@example(lengths=[5, 32, 5], begins_with_speech=True)
@example(lengths=[5, 33, 600, 28, 6], begins_with_speech=True)
@given(
    lengths=st.lists(st.integers(1, 900), min_size=2, max_size=30),
    begins_with_speech=st.booleans(),
)
def test_utterances_keep_the_limits_and_all_speech_but_clicks(
    lengths: list[int], begins_with_speech: bool
) -> None:
    state = np.concatenate(
        [
            np.full(n, (place % 2 == 0) == begins_with_speech, np.float32)
            for place, n in enumerate(lengths)
        ]
    )
    energies = np.random.default_rng(len(state)).random(len(state)).astype(np.float32)
    samples, limits = len(state) * FRAME, Limits()
    found = utterances(Activity(state, energies, samples), limits)
    ends = [first + count for first, count in found]
    assert all(16_000 <= count <= 20 * 16_000 for _, count in found)
    assert all(end <= first for end, (first, _) in zip(ends, found[1:], strict=False))
    assert not ends or (found[0][0] >= 0 and ends[-1] <= samples)
    covered = np.zeros(samples, np.bool_)
    for first, count in found:
        covered[first : first + count] = True
    at = 0
    for place, length in enumerate(lengths):
        is_speech = (place % 2 == 0) == begins_with_speech
        if is_speech and length >= 5 and samples >= 16_000:
            assert covered[at * FRAME : (at + length) * FRAME].all()
        at += length
