"""`asr prepare align`: long recordings with rough transcripts."""

from __future__ import annotations

import csv
import itertools
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_prep_helpers import cuts_of, rejects_of, summary_of
from rapidfuzz.distance import Levenshtein
from spoken_tones import ToneReader, roughened, spoken, words, write

from asr.data.dataset import SpeechSet
from asr.data.reading import load_samples
from asr.data_prep import cli
from asr.data_prep.alignment import recording
from asr.data_prep.alignment.anchors import find_anchors, greedy_letters
from asr.data_prep.alignment.forced import align as align_words
from asr.data_prep.alignment.frames import Frames
from asr.data_prep.alignment.transcripts import find_transcript, read_transcript
from asr.errors import UserError


@pytest.fixture(autouse=True)
def _reader(monkeypatch: pytest.MonkeyPatch) -> None:
    recording._alphabet.cache_clear()
    monkeypatch.setattr(recording.ModelChoice, "load", lambda self: ToneReader())


def align(root: Path, output: Path, *more: str) -> int:
    return cli.main(
        [
            *("align", "--root", str(root), "--output", str(output), "--model", "tones"),
            *("--vad", "energy", "--jobs", "1", *more),
        ]
    )


def left_out_of(output: Path, name: str = "labelled") -> list[dict[str, str]]:
    with (output / f"{name}.left_out.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def text_of(cut: Any) -> str:
    return str(cut.supervisions[0].text)


def test_what_is_labelled_of_a_rough_transcript_is_right_and_in_its_place(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    said = words(900, seed=1)
    audio_N, places = spoken(said)
    write(root / "talk.flac", audio_N)
    rough, _ = roughened(said, seed=2)
    (root / "talk.txt").write_text(" ".join(rough).lower().capitalize() + ".\n")
    assert align(root, output) == 0
    cuts = cuts_of(output, "labelled")
    errors = total = 0
    offsets = []
    for cut in cuts:
        inside = [
            place
            for place, (begin, end) in enumerate(places)
            if cut.start <= (begin + end) / 2 <= cut.end
        ]
        true = [said[place] for place in inside]
        errors += Levenshtein.distance(true, text_of(cut).upper().removesuffix(".").split())
        total += len(true)
        offsets += [cut.start - places[inside[0]][0], cut.end - places[inside[-1]][1]]
        assert 0 < cut.supervisions[0].custom["confidence"] <= 1
        assert 1.0 <= cut.duration <= 20.0
    assert errors < 0.02 * total
    assert total > 0.4 * len(said)
    assert np.median(np.abs(offsets)) < 0.3
    others = cuts_of(output, "untranscribed")
    assert not any(cut.supervisions and cut.supervisions[0].text for cut in others)
    spans = sorted((cut.start, cut.end) for cut in [*cuts, *others])
    assert all(one[1] <= other[0] + 1e-6 for one, other in itertools.pairwise(spans))
    speech = sum(end - begin for begin, end in places)
    assert sum(end - begin for begin, end in spans) > 0.9 * speech
    rows = left_out_of(output)
    lost = sum(int(row["words"]) for row in rows)
    assert lost + sum(len(text_of(cut).split()) for cut in cuts) == len(rough)
    assert {row["reason"] for row in rows} >= {"poor_score", "audio_not_in_text", "too_short"}


def test_nothing_is_copied_and_a_cut_loads(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    audio_N, _ = spoken(words(60, seed=3))
    write(root / "deep" / "длинная 1.wav", audio_N)
    (root / "deep" / "длинная 1.txt").write_text(" ".join(words(60, seed=3)))
    assert align(root, output) == 0
    assert not list(output.rglob("*.flac"))
    [cut, *_] = SpeechSet.load(output / "labelled.jsonl.gz").at_rate(16_000).cuts
    [samples] = load_samples(cut)
    first = round(cut.start * 16_000)
    np.testing.assert_allclose(samples, audio_N[first : first + len(samples)], atol=1e-4)
    said = {row["reason"] for row in left_out_of(output)}
    assert said <= {"poor_score", "too_short"}


def test_chapters_may_lack_on_either_side(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    first, skipped, unread, last = (words(150, seed=seed) for seed in (4, 5, 6, 7))
    audio_N, places = spoken([*first, *skipped, *last])
    write(root / "book.wav", audio_N)
    (root / "book.txt").write_text("\n".join(map(" ".join, (first, unread, last))))
    assert align(root, output) == 0
    cuts = cuts_of(output, "labelled")
    begin, end = places[150][0], places[299][1]
    assert not [cut for cut in cuts if begin + 1 < cut.start and cut.end < end - 1]
    assert sum(len(text_of(cut).split()) for cut in cuts) > 150
    rest = cuts_of(output, "untranscribed")
    inside = sum(max(0.0, min(cut.end, end) - max(cut.start, begin)) for cut in rest)
    assert inside > 0.7 * (end - begin)


def test_a_transcript_that_is_of_no_use_is_named_and_its_audio_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    audio_N, _ = spoken(words(80, seed=8))
    for name in ("good", "other", "empty", "cyrillic", "bytes", "times", "none"):
        write(root / f"{name}.wav", audio_N)
    (root / "good.txt").write_text(" ".join(words(80, seed=8)))
    (root / "other.txt").write_text(" ".join(words(80, seed=9)))
    (root / "empty.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\n[music]\n")
    (root / "cyrillic.txt").write_text("Съешь же ещё этих мягких французских булок")
    (root / "bytes.txt").write_bytes(b"\0\1\2" * 100)
    (root / "times.srt").write_text("No times in here at all\n")
    (root / "lost.wav").write_bytes(b"RIFF")
    (root / "lost.txt").write_text("nothing")
    assert align(root, output) == 0
    reasons = {line["id"]: line["reason"] for line in rejects_of(output)}
    assert reasons == {
        "other": "other_transcript",
        "empty": "empty_transcript",
        "cyrillic": "cannot_be_spelt",
        "bytes": "unreadable_transcript",
        "times": "unreadable_transcript",
        "lost": "unreadable",
    }
    said = capsys.readouterr().out
    assert "1 of 8 recordings have no transcript" in said
    assert "a transcript of something else" in said
    assert "the model has no 'С' 'ъ' 'е' 'ш' 'ь'" in said
    assert {cut.id.rsplit("-", 2)[0] for cut in cuts_of(output, "labelled")} == {"good"}
    rest = {cut.id.rsplit("-", 2)[0] for cut in cuts_of(output, "untranscribed")}
    assert rest >= {"other", "empty", "cyrillic", "bytes", "times", "none"}


def test_numbers_and_punctuation(tmp_path: Path) -> None:
    pytest.importorskip("num2words")
    root, output = tmp_path / "in", tmp_path / "out"
    said = [
        "IT",
        "WAS",
        "IN",
        "NINETEEN",
        "EIGHTY",
        "FOUR",
        "THAT",
        "SHE",
        "SAID",
        "HELLO",
        "AND",
        "LEFT",
        "FOR",
        "GOOD",
    ]
    audio_N, _ = spoken(said)
    write(root / "a.wav", audio_N)
    (root / "a.txt").write_text("It was in 1984 that she said “Hello!” — and left, for good…\n")
    assert align(root, output) == 0
    assert {row["text"]: row["reason"] for row in left_out_of(output)}["1984"] == "cannot_be_spelt"
    found = " ".join(text_of(cut) for cut in cuts_of(output, "labelled"))
    assert "that she said “Hello!” — and left, for good…" in found
    as_words = ("--number-words", "en", "--normaliser", "lower", "--set-name", "words")
    assert align(root, output, *as_words) == 0
    [cut, *_] = cuts_of(output, "words")
    assert "it was in nineteen eighty four that" in text_of(cut)
    assert cut.supervisions[0].custom["text_written"].startswith("It was in 1984 that")
    assert set(summary_of(output)["sets"]) == {"labelled", "untranscribed", "words"}


def test_an_interrupted_call_goes_on_and_a_changed_transcript_is_aligned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    for place, name in enumerate("abc"):
        said = words(50, seed=place)
        write(root / f"{name}.wav", spoken(said)[0])
        (root / f"{name}.txt").write_text(" ".join(said))
    seen, real = list[str](), recording.Aligner.__call__

    def watched(self: recording.Aligner, path: Path) -> Any:
        seen.append(path.stem)
        if path.stem == "c" and seen.count("c") == 1:
            raise KeyboardInterrupt
        return real(self, path)

    monkeypatch.setattr(recording.Aligner, "__call__", watched)
    with pytest.raises(KeyboardInterrupt):
        align(root, output)
    (root / "a.txt").write_text(" ".join(words(50, seed=0)[:40]))
    assert align(root, output) == 0
    assert seen == ["a", "b", "c", "a", "c"]
    assert align(root, output) == 0
    assert len(seen) == 5, "nothing is left to do"
    assert not list(output.glob("tmp*"))


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.wav", spoken(words(10, seed=0))[0])
    with pytest.raises(UserError, match="no transcript beside any of 1 recordings"):
        align(tmp_path / "in", tmp_path / "out")


def read(tmp_path: Path, content: str | bytes, name: str = "a.srt") -> list[str]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [line.text for line in read_transcript(path)[0]]


def test_captions_are_read_however_they_were_left(tmp_path: Path) -> None:
    srt = (
        "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>Hello</i> &amp; <b>welcome\r\n"
        "2\r\n00:00:02.5-->00:00:04,00\r\n- JOHN: {\\an8}So it\r\nbegins (laughs)\r\n"
        "4\r\n0:09,0 --> 0:08,0\r\n[music] ♪\r\n\r\nat last\r\n\r\n"
        "3\r\n00:00:05,000 --> 00:00:06,000\r\nbefore that\r\n"
    )
    assert read(tmp_path, srt) == ["Hello & welcome", "So it", "begins", "before that", "at last"]
    vtt = (
        "WEBVTT Kind: captions\n\nNOTE\nnot this\nnor this\n\nSTYLE\n::cue {}\n\n"
        "intro\n00:01.000 --> 00:02.000 align:start\n<v Ann>one two three</v>\n\n"
        "00:02.000 --> 00:03.000\none two three\nfour <00:02.5><c>five</c> six\n\n"
        "00:03.000 --> 00:04.000\nfour five six\n12\n"
    )
    assert read(tmp_path, vtt, "a.vtt") == ["one two three", "four five six", "12"]
    assert read(tmp_path, srt.encode("utf-16"))[0] == "Hello & welcome"
    latin = "1\n00:00:01,000 --> 00:00:02,000\nGarçon\n".encode("latin-1")
    assert read(tmp_path, latin) == ["Garçon"]
    assert "read as Latin-1" in read_transcript(tmp_path / "a.srt")[1]
    assert read(tmp_path, "") == []


def test_plain_text_may_name_who_speaks(tmp_path: Path) -> None:
    text = "Ann: Are you there?\nBob Lee: Yes.\nAnn: Good [laughter] then\nBob Lee: I said: go\nThis: that\n"
    found = read(tmp_path, text, "a.txt")
    assert found == ["Are you there?", "Yes.", "Good then", "I said: go", "This: that"]


def test_a_transcript_is_found_beside_its_recording(tmp_path: Path) -> None:
    (tmp_path / "a.en.vtt").write_text("WEBVTT")
    (tmp_path / "ab.txt").write_text("no")
    assert find_transcript(tmp_path / "a.mp3") == tmp_path / "a.en.vtt"
    (tmp_path / "a.mp3.srt").write_text("")
    assert find_transcript(tmp_path / "a.mp3") == tmp_path / "a.mp3.srt"
    assert find_transcript(tmp_path / "b.mp3") is None


def test_prepare_folder_names_the_command_for_long_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    write(root / "a.wav", spoken(words(200, seed=0))[0])
    (root / "a.txt").write_text("a long text")
    command = ["folder", "--root", str(root), "--output", str(tmp_path / "out"), "--jobs", "1"]
    assert cli.main(command) == 0
    assert f"asr prepare align --model RUN --root {root}" in capsys.readouterr().out


def test_an_hour_is_aligned_in_bounded_memory() -> None:
    said = words(10_000, seed=11)
    letters = ["", *"abcdefghijklmnopqrstuvwxyz"]
    spelt = [[letters.index(one) for one in word.lower()] for word in said]
    rough, true = roughened(said, seed=12)
    random = np.random.default_rng(13)
    log_SK = np.full((180_000, 27), -8.0, np.float16)
    log_SK[:, 0] = -0.01
    begins, frame = list[int](), 5
    for word in spelt:
        begins.append(frame)
        for letter in word:
            heard = letter if random.random() < 0.85 else int(random.integers(1, 27))
            log_SK[frame, [0, letter, heard]] = [-5.0, -1.5, -0.3]
            frame += int(random.integers(2, 5))
        frame += 3
    assert frame < len(log_SK)
    frames = Frames(log_SK, 0.02)
    classes = [[letters.index(one) for one in word.lower()] for word in rough]
    before, started = peak_memory_mb(), time.process_time()
    anchors = find_anchors(greedy_letters(log_SK, letters), [word.lower() for word in rough])
    placement = align_words(frames, classes, anchors)
    assert not anchors.is_other
    assert time.process_time() - started < 60
    assert peak_memory_mb() - before < 150
    wrong = [
        one
        for one in placement.words
        if rough[one.word] == said[true[one.word]] and one.begin != begins[true[one.word]]
    ]
    assert len(placement.words) > 0.99 * len(rough)
    assert len(wrong) < 0.05 * len(rough)
