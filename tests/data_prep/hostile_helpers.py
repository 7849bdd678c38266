"""What people hand over by mistake, as a table of cases, and what must come of each."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from data_prep_helpers import rejects_of, write_audio

from asr.data_prep import cli
from asr.errors import UserError


@dataclass
class Case:
    """What is written to a folder that holds a.wav, б г.wav, й.wav and c/d.flac, and what then happens."""

    arguments: list[str]
    files: dict[str, str | bytes] = field(default_factory=dict)
    error: str = ""
    """What the one message has; empty where the rest is prepared."""
    kept: set[str] = field(default_factory=set)
    """Ids of those with text."""
    rejects: dict[str, str] = field(default_factory=dict)
    """Reason by id."""
    detail: str = ""
    """What one of the rejects says."""
    set_name: str = "labelled"


FOLDER = ["folder", "--root", "."]
NEMO = ["nemo", "m.json"]
KALDI = ["kaldi", "data"]
MANIFESTS = ["lhotse", "--recordings", "r.jsonl.gz", "--supervisions", "s.jsonl.gz"]
CUTS = ["lhotse", "--cuts", "c.jsonl.gz"]


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in records)


def packed(*records: dict[str, Any]) -> bytes:
    return gzip.compress(lines(*records).encode())


def recording(name: str, source: str, kind: str = "file", **more: Any) -> dict[str, Any]:
    sources = [{"type": kind, "channels": [0], "source": source}]
    plain = {"sampling_rate": 16_000, "num_samples": 8_000, "duration": 0.5}
    return {"id": name, "sources": sources, **plain, **more}


def said(
    name: str, of: str, start: float = 0.0, seconds: float = 0.5, **more: Any
) -> dict[str, Any]:
    times = {"recording_id": of, "start": start, "duration": seconds, "channel": 0}
    return {"id": name, **times, "text": "hello", **more}


A, B = recording("A", "a.wav"), recording("B", "б г.wav")
CUT = {"id": "x", "start": 0, "duration": 0.5, "channel": 0, "type": "MonoCut", "recording": A}


def check(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the command does with the case, in `folder`, what it has to do."""
    monkeypatch.chdir(folder)
    for name in ("a.wav", "б г.wav", "й.wav", "c/d.flac"):
        write_audio(folder / name, seconds=0.5)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    arguments = [*case.arguments, "--output", "out", "--jobs", "1", "--max-reject-share", "1"]
    if case.error:
        with pytest.raises(UserError, match=case.error) as raised:
            cli.main(arguments)
        assert raised.value.remedy
        assert "\n" not in str(raised.value)
        return
    assert cli.main(arguments) == 0
    manifest = folder / "out" / f"{case.set_name}.jsonl.gz"
    kept = [json.loads(line) for line in gzip.decompress(manifest.read_bytes()).splitlines()]
    assert {cut["id"] for cut in kept} == case.kept
    found = rejects_of(folder / "out")
    assert {line["id"]: line["reason"] for line in found} == case.rejects
    assert all(line["detail"] for line in found)
    assert any(case.detail in line["detail"] for line in found) or not case.detail
