"""What people hand over by mistake: each is named with its place and a remedy, and the good ones are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_helpers import (
    CUT,
    CUTS,
    FOLDER,
    KALDI,
    MANIFESTS,
    NEMO,
    A,
    Case,
    check,
    lines,
    packed,
    recording,
    said,
)

CASES = {
    # Tables and texts of a folder
    "an empty table": Case(FOLDER, {"transcripts.tsv": ""}, "transcripts.tsv: the file is empty"),
    "a heading alone": Case(FOLDER, {"transcripts.csv": "id,text\n"}, "a heading and no rows"),
    "no column of texts": Case(
        FOLDER,
        {"transcripts.csv": "path,speaker\na.wav,x\n"},
        r"csv:1: no column 'text' among path, speaker; name it so",
    ),
    "no heading in a CSV": Case(
        FOLDER, {"transcripts.csv": "a,hello\n"}, "csv:1: the first line names no columns"
    ),
    "UTF-16": Case(
        FOLDER, {"transcripts.tsv": "a\thello\n".encode("utf-16")}, "is UTF-16 .* iconv -f UTF-16"
    ),
    "Latin-1": Case(
        FOLDER,
        {"transcripts.tsv": "x\ty\na\tcafé\n".encode("latin-1")},
        r"transcripts.tsv:2: not UTF-8 \(byte 0xe9\).*iconv",
    ),
    "another folder's": Case(
        FOLDER,
        {"transcripts.tsv": "u1\thello\nu2\tyes\n"},
        "none of 2 ids or paths is of a recording under .*'u1'.*a.wav",
    ),
    "two kinds at once": Case(
        FOLDER,
        {"transcripts.tsv": "a\thello\n", "a.txt": "hello"},
        r"transcripts.tsv and in \.txt files beside 1 recordings; .*--transcripts txt",
    ),
    "not there": Case([*FOLDER, "--transcripts", "gone.tsv"], {}, "gone.tsv: No such file"),
    "a BOM, CRLF, and names beside paths": Case(
        FOLDER,
        {"transcripts.csv": "\ufeffFile;Text;Age\r\n./a.wav;hello;7\r\nd.flac;yes;\r\n"},
        kept={"a", "c/d"},
    ),
    "tabs in a text, an id twice, nothing said": Case(
        FOLDER,
        {"transcripts.tsv": "id\ttext\na\the\tllo\nб г\tда\nб г\tнет\nc/d\t\n"},
        kept={"б г"},
        rejects={"a": "malformed_line", "б г": "duplicate_id", "c/d": "empty_text"},
        detail="transcripts.tsv:2: expected 2 columns and an id, and it has 3",
    ),
    "a quote that is never closed": Case(
        FOLDER, {"transcripts.tsv": 'id\ttext\na\t"hello\nб г\tда\n'}, kept={"a", "б г"}
    ),
    "names written by a Mac": Case(  # и and a breve
        FOLDER, {"transcripts.tsv": "и\u0306\tда\n"}, kept={"й"}
    ),
    "ids that collide without their extensions": Case(
        FOLDER,
        {"transcripts.tsv": "a.wav\tone\na.txt\ttwo\nc/d\tthree\n"},
        kept={"a", "c/d"},
        rejects={"a.txt": "missing_audio"},
    ),
    "one text of Latin-1 beside others": Case(
        FOLDER,
        {"a.txt": "café".encode("latin-1"), "б г.txt": "\ufeffда\r\nнет\r\n", "README.txt": "no"},
        kept={"б г"},
        rejects={"a.wav": "unreadable_text"},
        detail="a.txt:1: not UTF-8",
    ),
    "labels with times": Case(
        FOLDER,
        {"a.lab": "0 1000 sil\n1000 2000 h\n", "б г.lab": "да"},
        kept={"б г"},
        rejects={"a.wav": "malformed_text"},
    ),
    # Kaldi
    "no data folder": Case(["kaldi", "."], {}, r"no wav.scp; it has a.wav"),
    "pipes, archives, segments beyond the end": Case(
        KALDI,
        {
            "data/wav.scp": "A a.wav\nP flac -c -d -s x.flac |\nK x.ark:17\nG gone.wav\n",
            "data/segments": "u1 A 0 0.3\nu2 A 0.2 0.5\nu3 A 0.3 9\nu4 A 0.4 0.1\n"
            "u5 P 0 1\nu6 Q 0 1\nu7 G 0 1\n",
            "data/text": "u1 hello\nu2 you\nu3 x\nu9 lost\nu4 y\n",
        },
        kept={"u1", "u2"},
        rejects={
            **{"P": "command", "K": "archive", "u3": "beyond_end", "u4": "malformed_line"},
            **{
                "u5": "missing_audio",
                "u6": "missing_audio",
                "u7": "missing_audio",
                "u9": "missing_audio",
            },
        },
        detail="'P' is a command (flac -c -d -s x.flac |), and none is run: write the path of the file",
    ),
    "commands alone": Case(
        KALDI,
        {"data/wav.scp": "A sph2pipe a.sph |\n"},
        "nothing is usable: .*command 1, the first 'A'",
    ),
    # NeMo
    "a line that is no JSON, and other faults": Case(
        NEMO,
        {
            "m.json": lines({"audio_filepath": "a.wav", "text": "hello", "duration": 0.5})
            + "{broken\n"
            + lines(
                {"audio_filepath": ["a.wav"], "text": "x", "id": "list"},
                {"audio_filepath": "б г.wav", "text": 7, "id": "number"},
                {"audio_filepath": "б г.wav", "text": "x", "offset": -1, "id": "before"},
                {"audio_filepath": "c/d.flac", "text": "x", "duration": 99, "id": "beyond"},
                {"audio_filepath": "audio_0.tar/x.wav", "text": "x", "shard_id": 0, "id": "tar"},
                {"audio_filepath": "б г.wav", "text": "да", "offset": 0.1, "duration": 0.2},
            )
        },
        kept={"a", "б г"},
        rejects={
            **{"{broken": "malformed_line", "list": "malformed_line", "number": "malformed_line"},
            **{"before": "malformed_line", "beyond": "beyond_end", "audio_0.tar/x.wav": "shard"},
        },
        detail="m.json:7: lies in a tar (audio_0.tar/x.wav): unpack the tars",
    ),
    "a folder for a file": Case(["nemo", "c"], {}, "c: is a folder; name the manifest"),
    # Lhotse
    "manifests the wrong way round": Case(
        ["lhotse", "--recordings", "s.jsonl.gz"],
        {"s.jsonl.gz": packed(said("u", "A"))},
        "holds supervisions and not recordings .*; give it to --supervisions",
    ),
    "a manifest of NeMo": Case(
        CUTS, {"c.jsonl.gz": packed({"audio_filepath": "a.wav"})}, "asr prepare nemo c.jsonl.gz"
    ),
    "a gzip that ends early": Case(
        CUTS, {"c.jsonl.gz": packed(CUT)[:-20]}, "--cuts c.jsonl.gz: gzip is damaged or cut short"
    ),
    "shards": Case(["lhotse", "--cuts", "c"], {}, "is a folder; .*called NAME.shar"),
    "nothing named": Case(["lhotse"], {}, "no --cuts and no --recordings"),
    "recordings that are none of files": Case(
        MANIFESTS,
        {
            "r.jsonl.gz": packed(
                A,
                recording("E", "echo hi", "command"),
                recording("S", "a.wav", transforms=[{"name": "Speed"}]),
                A,
                {"id": "N"},
                recording("G", "gone.wav"),
            ),
            "s.jsonl.gz": packed(
                said("u1", "A", 0.1, 0.2),
                said("u2", "E"),
                said("u3", "S"),
                said("u4", "N"),
                said("u5", "G"),
                said("u6", "A", -1.0),
                said("u1", "A", 0.3, 0.1),
                said("u7", "A", text=None),
                said("u8", "Q"),
                {"recording_id": "A"},
            ),
        },
        kept={"u1"},
        rejects={
            **{"A": "duplicate_id", "u2": "not_a_file", "u3": "not_a_file", "u4": "malformed_line"},
            **{"u5": "missing_audio", "u6": "malformed_line", "u1": "duplicate_id"},
            **{"u8": "missing_recording", '{"recording_id": "A"}': "malformed_line"},
        },
        detail="its recording is a 'command' and not a file",
    ),
    "cuts of all kinds": Case(
        CUTS,
        {
            "c.jsonl.gz": packed(
                {**CUT, "supervisions": [said("u1", "A"), said("u2", "A", 0.2, 0.2)]},
                {"id": "m", "type": "MixedCut", "tracks": []},
                {**CUT, "id": "f", "recording": None, "features": {}},
            )
        },
        kept={"u1", "u2"},
        rejects={"m": "no_recording", "f": "no_recording"},
        detail="cut 'm' is a MixedCut: save its audio first",
    ),
    # Hugging Face
    "no data set": Case(["huggingface", "c"], {}, "c: is no data set on disk; it has d.flac"),
    "a damaged data set": Case(
        ["huggingface", "hf"],
        {"hf/state.json": '{"_data_files": [{"filename": "x.arrow"}]}', "hf/x.arrow": b"no arrow"},
        "x.arrow: damaged or cut short .*save the data set again",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_at_fault_is_named_and_the_rest_is_kept(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(case, tmp_path, monkeypatch)
