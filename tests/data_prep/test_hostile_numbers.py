"""Numbers, names and structures that no corpus should have, in manifests of all formats; damaged data sets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hostile_helpers import (
    CUT,
    CUTS,
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
from pyarrow import parquet

BIG = 10**400
"""No float holds it."""
OK = {"audio_filepath": "a.wav", "text": "hello", "id": "ok"}


def nemo(**record: object) -> dict[str, object]:
    return {"audio_filepath": "б г.wav", "text": "x", **record}


def nested() -> str:
    return '{"audio_filepath": ' + "[" * 100_000 + "\n"


def rows(*records: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(records)), stream)
    return stream.getvalue()


def saved(*names: str) -> str:
    return json.dumps({"_data_files": [{"filename": name} for name in names]})


FACE = ["huggingface", "hf"]
ROW = {"path": "a.wav", "text": "hello", "id": "ok"}

CASES = {
    "times that are no numbers": Case(
        NEMO,
        {
            "m.json": lines(
                OK,
                nemo(id="nan", duration=float("nan")),
                nemo(id="inf", offset=float("inf")),
                nemo(id="minus", duration=-0.2),
                nemo(id="big", offset=BIG),
                nemo(id="far", offset=1e305),
                nemo(id="nothing", duration=0),
                nemo(id="behind", offset=0.5),
                nemo(id="true", duration=True),
                nemo(id="word", duration="0.3"),
            )
        },
        kept={"ok"},
        rejects={
            **dict.fromkeys(("nan", "inf", "minus", "big", "true", "word"), "malformed_line"),
            **{"far": "beyond_end", "behind": "beyond_end", "nothing": "empty"},
        },
        detail="m.json:4: duration is -0.2: expected seconds",
    ),
    "paths that are none": Case(
        NEMO,
        {
            "m.json": lines(
                OK,
                nemo(id="home", audio_filepath="~nobody-is-called-so/a.wav"),
                nemo(id="zero", audio_filepath="a\0.wav"),
                nemo(id="long", audio_filepath="a" * 5000),
                nemo(id="folder", audio_filepath="c"),
                nemo(id="line", audio_filepath="a\n.wav"),
                nemo(id="half", audio_filepath="\ud800.wav"),
                nemo(id="none", audio_filepath=""),
            )
        },
        kept={"ok"},
        rejects={
            **dict.fromkeys(("home", "zero", "line"), "missing_audio"),
            "half": "path_characters",
            **{"folder": "unreadable", "long": "unreadable", "none": "malformed_line"},
        },
    ),
    "texts and ids that are none": Case(
        NEMO,
        {
            "m.json": lines(
                OK,
                nemo(id="half", text="a \ud800 b"),
                nemo(id="zero", text="a \0 b"),
                nemo(id="lines", text="a\nb\tc"),
                nemo(id="a\nb"),
                nemo(id="../up"),
                nemo(id="ok"),
                nemo(id="blank", text="  "),
            )
        },
        kept={"ok", "lines"},
        rejects={
            **{"half": "text_characters", "zero": "text_characters", "a\nb": "id_characters"},
            **{"../up": "id_characters", "ok": "duplicate_id", "blank": "empty_text"},
        },
    ),
    "fields that no file holds": Case(
        NEMO,
        {
            "m.json": lines(
                {**OK, "score": float("nan"), "who": "\ud800"}, nemo(id="b", speaker="\ud800")
            )
        },
        kept={"ok", "b"},
    ),
    "brackets without an end": Case(
        NEMO,
        {"m.json": nested() + lines(OK)},
        kept={"ok"},
        rejects={nested()[:40]: "malformed_line"},
    ),
    "paths from here and from the root": Case(
        NEMO,
        {
            "m.json": lines(
                {"audio_filepath": "a.wav", "text": "x"}, {"audio_filepath": "/none/b.wav"}
            )
        },
        kept={"a"},
        rejects={"b": "missing_audio"},
    ),
    "an array": Case(NEMO, {"m.json": json.dumps([OK], indent=1)}, "nothing is usable"),
    "audio for a manifest": Case(["nemo", "a.wav"], {}, "a.wav: is .*"),
    "segments whose times are none": Case(
        KALDI,
        {
            "data/wav.scp": "A a.wav\nB б г.wav\nA й.wav\nD c\n",
            "data/segments": "u1 A 0 0.3\nu2 A nan 1\nu3 A 0 inf\nu4 A -1 0.4\nu5 A 1e308 1.1e308\n"
            "u6 A 0\nu7\nu8 B 0.1 -1\nu1 B 0 0.2\nu9 B x y\nu10 D 0 1\n",
            "data/text": "u1 hello\nu8 да\nu1 again\n",
        },
        kept={"u1", "u8"},
        rejects={
            **dict.fromkeys(("u2", "u4", "u6", "u7", "u9"), "malformed_line"),
            **{"u3": "beyond_end", "u5": "beyond_end", "u1": "duplicate_id", "A": "duplicate_id"},
            "u10": "unreadable",
        },
    ),
    "an empty wav.scp": Case(KALDI, {"data/wav.scp": ""}, "data/wav.scp: the file is empty"),
    "commands in front and behind": Case(
        KALDI,
        {
            "data/wav.scp": "A a.wav\nP | touch ran |\nQ touch ran|\nR $(touch ran)\n",
            "data/text": "A x\n",
        },
        kept={"A"},
        rejects={"P": "command", "Q": "command", "R": "missing_audio"},
    ),
    "text of another corpus": Case(
        KALDI,
        {"data/wav.scp": "A a.wav\n", "data/text": "u1 x\nu2 y\n"},
        "none of its 2 ids is in wav.scp: the first is 'u1', and there is 'A'",
    ),
    "recordings that cannot be": Case(
        MANIFESTS,
        {
            "r.jsonl.gz": packed(
                A,
                recording("rate", "a.wav", sampling_rate=0),
                recording(
                    "channels",
                    "a.wav",
                    sources=[{"type": "file", "source": "a.wav", "channels": 7}],
                ),
                recording("sources", "a.wav", sources="a.wav"),
                recording("none", "a.wav", sources=[]),
                recording("zero", "a\0.wav"),
                recording("home", "~nobody-is-called-so/a.wav"),
            ),
            "s.jsonl.gz": packed(
                said("u1", "A"),
                *(
                    said(name, name)
                    for name in ("rate", "channels", "sources", "none", "zero", "home")
                ),
                said("nan", "A", float("nan")),
                said("minus", "A", 0.0, -0.2),
                said("far", "A", 1e305),
                said("big", "A", BIG),
                said("text", "A", text=["x"]),
                said("where", "A", channel="left"),
            ),
        },
        kept={"u1", "rate", "where"},
        rejects={
            **dict.fromkeys(("channels", "sources", "none"), "malformed_line"),
            **dict.fromkeys(("nan", "minus", "big", "text"), "malformed_line"),
            **{"zero": "missing_audio", "home": "missing_audio", "far": "beyond_end"},
        },
    ),
    "cuts that cannot be": Case(
        CUTS,
        {
            "c.jsonl.gz": packed(
                {**CUT, "supervisions": [said("u1", "A")]},
                {**CUT, "id": "number", "supervisions": 7},
                {**CUT, "id": "start", "start": "0"},
                {**CUT, "id": "type", "type": ["MonoCut"]},
                {**CUT, "id": "custom", "supervisions": [said("u2", "A", custom=[1])]},
                {**CUT, "id": "nan", "start": float("nan")},
            ),
        },
        kept={"u1", "u2"},
        rejects={
            **dict.fromkeys(("number", "start", "nan"), "malformed_line"),
            "type": "no_recording",
        },
        detail="c.jsonl.gz:2: cut 'number': supervisions are 7 and no list",
    ),
    "supervisions of other recordings": Case(
        MANIFESTS,
        {"r.jsonl.gz": packed(A), "s.jsonl.gz": packed(said("u1", "B"))},
        "s.jsonl.gz: none is of a recording in r.jsonl.gz; the first, .*'B'",
    ),
    "a file of rows that is empty, and one that ends early": Case(
        FACE,
        {
            "hf/a.parquet": rows(ROW),
            "hf/b.parquet": b"",
            "hf/c.parquet": rows(ROW)[:-200],
            "hf/d.arrow": b"",
        },
        kept={"ok"},
        rejects={"b.parquet": "damaged_file", "c.parquet": "damaged_file"},
        detail="hf/b.parquet: damaged or cut short",
        set_name="a",
    ),
    "rows without audio": Case(
        FACE,
        {
            "hf/a.parquet": rows(
                ROW,
                {**ROW, "id": "none", "path": None},
                {**ROW, "id": "gone", "path": "gone.wav"},
                {**ROW, "id": "pipe", "path": "touch ran |"},
                {**ROW, "id": "up", "path": "../../a.wav"},
                {**ROW, "id": "line\nend"},
                {**ROW, "id": "ok"},
                {**ROW, "id": "wordless", "text": ""},
            )
        },
        kept={"ok"},
        rejects={
            **{"none": "malformed_row", "gone": "missing_audio", "pipe": "missing_audio"},
            **{"up": "missing_audio", "line\nend": "id_characters", "ok": "duplicate_id"},
            "wordless": "empty_text",
        },
        set_name="a",
    ),
    "bytes that are no audio": Case(
        FACE,
        {
            "hf/a.parquet": rows(
                {"audio": {"bytes": b"no audio", "path": "x.wav"}, "text": "x"},
                {"audio": {"bytes": b"", "path": None}, "text": "x"},
            )
        },
        "nothing is usable: all 2 entries were rejected",
    ),
    "no column of audio": Case(
        FACE, {"hf/a.parquet": rows({"said": "x"})}, "none of the columns audio, .*; it has said"
    ),
    "texts that are numbers": Case(
        FACE, {"hf/a.parquet": rows({**ROW, "text": 7})}, "'text' is 7 and no text"
    ),
    "splits that are not listed": Case(
        FACE, {"hf/dataset_dict.json": "{}"}, "hf/dataset_dict.json: not readable .*'splits'"
    ),
    "a list of splits that ends early": Case(
        FACE, {"hf/dataset_dict.json": '{"splits": ["tr'}, "hf/dataset_dict.json: not readable"
    ),
    "a state without files": Case(FACE, {"hf/state.json": "[]"}, "hf/state.json: not readable"),
    "a file that is not there": Case(
        FACE, {"hf/state.json": saved("gone.arrow")}, "gone.arrow: damaged or cut short"
    ),
    "cuts in brackets without an end": Case(CUTS, {"c.jsonl.gz": "[" * 100_000}, "no JSON"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_cannot_be_is_named_and_the_rest_is_kept(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(case, tmp_path, monkeypatch)
    assert not (tmp_path / "ran").exists()
