"""Each format that people have, read from a file of that format; and what a malformed line says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource

from asr.cli import score
from asr.errors import UserError
from asr.evaluation.ctm import into_segments, read_ctm
from asr.evaluation.transcripts import FORMATS, guess_format, read_transcripts

SAMPLE = Path(__file__).parents[4] / "shared/data/librispeech-sample/LibriSpeech"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def texts(path: Path, role: str = "reference", kind: str | None = None) -> dict[str, str]:
    found = read_transcripts(path, role, kind)  # type: ignore[arg-type]
    return {name: one.text for name, one in found.items()}


def cut(name: str, text: str) -> MonoCut:
    source = AudioSource("file", [0], f"{name}.wav")
    recording = Recording(name, [source], 16_000, 32_000, 2.0)
    supervision = SupervisionSegment(
        name, name, 0.0, 2.0, text=text, speaker="anna", language="German", custom={"age": 30}
    )
    return MonoCut(name, 0.0, 2.0, 0, supervisions=[supervision], recording=recording)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lhotse(tmp_path: Path, suffix: str) -> None:
    cuts = CutSet.from_cuts([cut("u1", "ein haus"), cut("u2", "")])
    path = tmp_path / f"cuts{suffix}"
    cuts.to_file(path)
    assert guess_format(path) == "lhotse"
    found = read_transcripts(path, "reference")
    assert {name: one.text for name, one in found.items()} == {"u1": "ein haus", "u2": ""}
    assert (found["u1"].seconds, found["u1"].speaker) == (2.0, "anna")
    assert found["u1"].fields == {"language": "German", "age": 30}
    supervisions = tmp_path / f"supervisions{suffix}"
    SupervisionSet.from_segments(s for c in cuts for s in c.supervisions).to_file(supervisions)
    assert texts(supervisions) == texts(path)


def test_kaldi_text(tmp_path: Path) -> None:
    path = written(tmp_path / "text", "1-2-3 HELLO  WORLD\n1-2-4\n")
    assert guess_format(path) == "kaldi"
    assert texts(path) == {"1-2-3": "HELLO WORLD", "1-2-4": ""}


def test_tsv(tmp_path: Path) -> None:
    path = written(tmp_path / "hyp.txt", "a/b c\tguten tag\nd\t\n")
    assert guess_format(path) == "tsv"
    assert texts(path) == {"a/b c": "guten tag", "d": ""}
    headed = written(tmp_path / "headed.tsv", "id\ttext\na\tb\n")
    assert texts(headed) == {"a": "b"}


def test_nist_trn(tmp_path: Path) -> None:
    path = written(tmp_path / "ref.trn", ";; a comment\nthe (uh) cat (spk1_u-001)\n(spk1_u-002)\n")
    assert texts(path) == {"spk1_u-001": "the uh cat", "spk1_u-002": ""}
    assert read_transcripts(path, "reference")["spk1_u-001"].speaker == "spk1"
    assert guess_format(written(tmp_path / "other", path.read_text().split("\n", 1)[1])) == "trn"


STM = """;; CATEGORY "0" "" ""
2345 A 2345-a 0.10 2.03 <o,f0,male> uh huh yes i thought
2345 A 2345-b 2.10 3.04 <o,f0,male> dog walking is a very
2345 A unknown 3.50 4.59 IGNORE_TIME_SEGMENT_IN_SCORING
2345 B 2345-c 4.50 5.00 and so on
"""
CTM = """;; time-marked words
2345 A 1.00 0.50 i
2345 A 0.11 0.20 uh -0.5
2345 A 0.40 0.20 huh 0.99
2345 A 1.60 0.40 thought
2345 A 2.20 0.30 dog
2345 A 3.60 0.20 lost
2345 B 4.60 0.20 and
"""


def test_nist_stm_and_ctm(tmp_path: Path) -> None:
    stm, ctm = written(tmp_path / "ref.stm", STM), written(tmp_path / "hyp.ctm", CTM)
    references = read_transcripts(stm, "reference")
    assert {n: r.text for n, r in references.items()} == {
        "2345-A-0.10-2.03": "uh huh yes i thought",
        "2345-A-2.10-3.04": "dog walking is a very",
        "2345-B-4.50-5.00": "and so on",
    }
    first = references["2345-A-0.10-2.03"]
    assert (first.speaker, first.fields["labels"]) == ("2345-a", "o,f0,male")
    assert first.seconds == pytest.approx(1.93)
    found, outside = into_segments(read_ctm(ctm), references)
    assert [one.text for one in found.values()] == ["uh huh i thought", "dog", "and"]
    assert outside == 1
    overlapping = written(tmp_path / "two.stm", "f A a 0 4 x\nf A b 3 6 y\n")
    with pytest.raises(UserError, match="cannot be told apart"):
        into_segments(read_ctm(ctm), read_transcripts(overlapping, "reference"))
    strange = written(tmp_path / "other.stm", "2345 1 a 0 4 x\n")
    with pytest.raises(UserError, match="none in common"):
        into_segments(read_ctm(ctm), read_transcripts(strange, "reference"))
    assert texts(ctm, "hypothesis")["2345-A"] == "uh huh i thought dog lost"


def test_nemo(tmp_path: Path) -> None:
    lines = [
        {"audio_filepath": "/data/x 1.wav", "duration": 1.5, "text": "A B", "pred_text": "A"},
        {"audio_filepath": "/data/x2.wav", "duration": 2, "text": "C", "pred_text": "C"},
    ]
    path = written(tmp_path / "manifest.json", "\n".join(map(json.dumps, lines)))
    assert guess_format(path) == "nemo"
    assert texts(path) == {"/data/x 1.wav": "A B", "/data/x2.wav": "C"}
    assert texts(path, "hypothesis") == {"/data/x 1.wav": "A", "/data/x2.wav": "C"}
    assert read_transcripts(path, "reference")["/data/x 1.wav"].seconds == 1.5
    long = [{**lines[0], "offset": offset} for offset in (0, 1.5)]
    path = written(tmp_path / "long.json", "\n".join(map(json.dumps, long)))
    assert list(texts(path)) == ["/data/x 1.wav-0", "/data/x 1.wav-1.5"]
    plain = written(tmp_path / "plain.json", json.dumps({"audio_filepath": "a", "text": "A"}))
    with pytest.raises(UserError, match="has no 'pred_text'"):
        texts(plain, "hypothesis")


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the LibriSpeech sample is not here")
def test_a_librispeech_folder() -> None:
    found = texts(SAMPLE / "test-clean")
    assert len(found) == 4
    assert found["1089-134686-0000"].startswith("HE HOPED THERE WOULD BE STEW FOR DINNER")


@pytest.mark.parametrize(
    ("name", "text", "line", "fault"),
    [
        ("x.tsv", "a\tb\nc d\n", 2, "no TAB after the id"),
        ("x.tsv", "path\tsentence\na\tb\tc\n", 2, "a second TAB"),
        ("x.trn", "a b (u1)\nno id\n", 2, r"no \(id\) at its end"),
        ("x.trn", "{ a / b } (u1)\n", 1, "alternatives"),
        ("x.stm", "f A s 0 1 x\nf A s 3 1 x\n", 2, "not a segment"),
        ("x.ctm", "f A 0 1 word\nf A zero 1 word\n", 2, "not a word with its time"),
        ("x.ctm", "f A * * <ALT_BEGIN>\n", 1, "not a word with its time"),
        ("x.jsonl", '{"id": "a", "reference": "b"}\n{"id": 3}\n', 2, "'id' is not text"),
        ("x.jsonl", '{"id": "a", "reference": "b"}\n{\n', 2, "not JSON"),
        ("x.json", '{"audio_filepath": "a.wav", "text": "a"}\n{"text": "a"}\n', 2, "has no 'audio"),
        ("x.jsonl", '{"id": "a", "recording_id": "a"}\n', 1, "has no text"),
        ("text", "a b\na c\n", 2, "already in .*line 1"),
    ],
)
def test_a_malformed_line_names_file_and_line(
    tmp_path: Path, name: str, text: str, line: int, fault: str
) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(UserError, match=fault) as caught:
        read_transcripts(path, "reference")
    assert str(caught.value).startswith(f"{path}, line {line}: ")


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_transcripts(tmp_path / "no.trn", "reference")
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


REFERENCES = {"u1": "the cat sat", "u2": "on the mat", "u3": "today"}
HYPOTHESES = {"u1": "the cat sit", "u2": "on mat", "u3": "today"}


def in_format(folder: Path, kind: str, content: dict[str, str], role: str) -> Path:
    lines = {
        "kaldi": lambda n, t: f"{n} {t}",
        "tsv": lambda n, t: f"{n}\t{t}",
        "trn": lambda n, t: f"{t} ({n})",
        "asr": lambda n, t: json.dumps({"id": n, role: t, "seconds": 1}),
        "nemo": lambda n, t: json.dumps({"audio_filepath": n, "text": t}),
        "lhotse": lambda n, t: json.dumps(cut(n, t).to_dict()),
    }
    path = folder / f"{role}.{kind}"
    return written(path, "".join(lines[kind](n, t) + "\n" for n, t in content.items()))


@pytest.mark.parametrize("kind", ["kaldi", "tsv", "trn", "asr", "nemo", "lhotse"])
@pytest.mark.parametrize("other", ["kaldi", "lhotse"])
def test_any_reference_meets_any_hypothesis(
    tmp_path: Path, kind: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kind in FORMATS
    reference = in_format(tmp_path, kind, REFERENCES, "reference")
    hypothesis = in_format(tmp_path, other, HYPOTHESES, "hypothesis")
    formats = ["--reference-format", kind, "--format", other]
    assert score.main([str(reference), str(hypothesis), *formats, "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["systems"]
    assert found["wer"] == pytest.approx(100 * 2 / 7)
    assert (found["substitutions"], found["deletions"], found["insertions"]) == (1, 1, 0)


def test_utterances_without_a_partner_are_never_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = in_format(tmp_path, "kaldi", REFERENCES, "reference")
    some = {"u1": "the cat sat", "u2": "on the mat", "x9": "noise"}
    hypothesis = in_format(tmp_path, "kaldi", some, "hypothesis")
    arguments = [str(reference), str(hypothesis), "--json"]
    with pytest.raises(UserError, match=r"no hypothesis for 1 of 3 references .*'u3'"):
        score.main(arguments)
    for missing, words, errors in (("deleted", 7, 1), ("left_out", 6, 0)):
        assert score.main([*arguments, "--missing", missing]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["systems"][0]["words"] == words
        assert found["systems"][0]["deletions"] == errors
        assert len(found["notes"]) == 2
    stranger = in_format(tmp_path, "tsv", {"v1": "a"}, "hypothesis")
    with pytest.raises(UserError, match="none of its ids is among the references"):
        score.main([str(reference), str(stranger), "--format", "tsv"])
