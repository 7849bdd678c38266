"""Lhotse Shar folders (cuts.NNNNNN.jsonl.gz beside recording.NNNNNN.tar) as lines of a manifest.

Where each recording lies in its tar is found out once, so that any utterance can be read alone: a run over
shards draws the same batches as one over single files, and the window in which they are shuffled is the whole
corpus.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.errors import UserError

SHAR_SUFFIX = ".shar"
_SOURCE = "tar"
"""Type of a recording's source whose bytes lie in a tar; the lines of an index have it, and Lhotse does not."""


def shar_lines(folder: Path, copy: Path, rejects: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Each line with its place in `copy`, which is written on the way; shards in the order of their names.

    Utterances whose audio or line is lost are left out: `rejects` gets, by shard, how many, the first one and
    why. Raises UserError for a folder without shards.
    """
    shards = sorted(folder.glob("cuts.*.jsonl.gz"))
    if not shards:
        raise UserError(f"{folder}: holds no cuts.*.jsonl.gz; `asr prepare shar` makes shards")
    start = 0
    with copy.open("wb") as target:
        for cuts in shards:
            for line in _sound_lines(cuts, rejects):
                target.write(line)
                yield start, line
                start += len(line)


def _sound_lines(cuts: Path, rejects: dict[str, Any]) -> Iterator[bytes]:
    tar = cuts.with_name(
        cuts.name.replace("cuts.", "recording.").removesuffix(".jsonl.gz") + ".tar"
    )
    places = _audio_places(tar)
    lost: list[str] = []
    try:
        with gzip.open(cuts) as file:
            for line in file:
                record = json.loads(line)
                place = places.get(record["id"])
                if place is None:
                    lost.append(record["id"])
                    continue
                record["recording"]["sources"] = [
                    {"type": _SOURCE, "channels": [0], "source": tar.name, "place": place}
                ]
                yield json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        reason = (
            f"damaged ({type(error).__name__}); nobody knows how many of its utterances are lost"
        )
        rejects[cuts.name] = {"count": 0, "first": None, "reason": reason}
    if lost:
        reason = "is missing" if not tar.is_file() else "is truncated, or not of these cuts"
        rejects[tar.name] = {"count": len(lost), "first": lost[0], "reason": reason}


def _audio_places(tar: Path) -> dict[str, tuple[int, int]]:
    """(begin, bytes) of each recording that is there in full, by its name without the extension."""
    places: dict[str, tuple[int, int]] = {}
    try:
        size = tar.stat().st_size
        with tarfile.open(tar, "r:") as file:
            for member in file:
                name, _, kind = member.name.rpartition(".")
                is_audio = kind not in ("json", "nodata", "nometa")
                if is_audio and member.offset_data + member.size <= size:
                    places[name] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError):
        pass  # what came before is good; what did not come is counted by the caller
    return places


def with_audio(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A cut whose recording Lhotse can read: one that lies in a tar of `folder` is brought into memory.

    Raises UserError where the tar is gone or shorter than it was.
    """
    recording: dict[str, Any] = record.get("recording") or {"sources": [{}]}
    source = recording["sources"][0]
    if source.get("type") != _SOURCE:
        return record
    tar, (begin, count) = folder / source["source"], source["place"]
    try:
        with tar.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), count, begin)
    except OSError as error:
        raise UserError(
            f"{tar} (utterance '{record['id']}'): cannot be read any more: {error.strerror}; restore the "
            "shard"
        ) from None
    if len(content) != count:
        raise UserError(
            f"{tar} (utterance '{record['id']}'): has become shorter; restore the shard"
        )
    memory = {"type": "memory", "channels": [0], "source": content}
    return {**record, "recording": {**recording, "sources": [memory]}}
