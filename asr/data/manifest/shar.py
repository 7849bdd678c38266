"""Lhotse Shar folders (cuts.NNNNNN.jsonl.gz beside recording.NNNNNN.tar) as lines of a manifest.

Where each recording lies in its tar is found out once, so that any utterance can be read alone: a run over
shards draws the same batches as one over single files, and the window in which they are shuffled is the whole
corpus. The tars may be in an object store (asr/data/store): a file recording.url holds the address of their
folder, and places.NNNNNN.json, which `asr prepare shar` writes, says where in them each recording lies.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import from_json

from asr.config.store import StoreConfig
from asr.data.store.addresses import checked, is_address
from asr.data.store.bringing import DamagedError, Part, bring, check
from asr.data.store.folders import bring_beside
from asr.errors import LostAudioError, UserError
from asr.utils.files import read_json
from asr.utils.text_files import refuse_own_pipe, refuse_pipe

SHAR_SUFFIX = ".shar"
ADDRESS = "recording.url"
"""File in a Shar folder that holds the address of the folder with its tars."""
Place: TypeAlias = tuple[Any, ...]
"""Begin in a tar, bytes, and where it is known the SHA-256 of a recording."""
_SOURCE = "tar"
"""Type of a recording's source whose bytes lie in a tar; the lines of an index have it, and Lhotse does not."""


def shar_lines(folder: Path, rejects: dict[str, Any]) -> Iterator[bytes]:
    """The line of each utterance; shards in the order of their names.

    `rejects` gets, by file, how many utterances are lost, the first one and why. One whose line is lost is left
    out; one whose audio is lost stays, so that places in the stream do, and its place in a tar is null. Raises
    UserError for a folder without shards.
    """
    kinds = (("cuts.", ".jsonl.gz"), ("recording.", ".tar"), ("places.", ".json"))
    numbers = {
        path.name.removeprefix(begin).removesuffix(end)
        for begin, end in kinds
        for path in folder.glob(f"{begin}*{end}")
    }
    if not any(folder.glob("cuts.*.jsonl.gz")):
        raise UserError(
            f"{folder}: holds no cuts.*.jsonl.gz",
            "`asr prepare shar --data DIR --sets SET` makes shards",
        )
    address = address_of(folder)
    for number in sorted(numbers):
        yield from _sound_lines(folder, number, address, rejects)


def is_in_store(manifest: Path) -> bool:
    """Whether the tars of a set need not be here."""
    return (manifest / ADDRESS).is_file()


def bring_lists(manifest: Path, config: StoreConfig | None = None) -> None:
    """Have here what lists the utterances of a set in a store. Raises UserError and StoreAwayError."""
    address = address_of(manifest)
    if address is not None:
        bring_beside(manifest, address, config or StoreConfig())


def address_of(folder: Path) -> str | None:
    """Of the folder with its tars; None where they are here. Raises UserError for one that is none."""
    path = folder / ADDRESS
    if not path.is_file():
        return None
    return checked(path.read_text(encoding="utf-8", errors="replace").strip(), str(path))


def _sound_lines(
    folder: Path, number: str, address: str | None, rejects: dict[str, Any]
) -> Iterator[bytes]:
    cuts, tar = folder / f"cuts.{number}.jsonl.gz", folder / f"recording.{number}.tar"
    for path in (cuts, tar, places_file(tar)):
        refuse_own_pipe(path)
    noted = _noted_places(places_file(tar))
    places, where, rate_hz = _as_noted(tar, noted), tar.name, None
    if not places:
        places, rate_hz = dict[str, Place](audio_places(tar)), _rate_hz(tar)
    if not tar.is_file() and address is not None:
        places, where = noted, f"{address}/{tar.name}"
    seen: set[str] = set()
    lost: list[str] = []
    fault = "is missing" if not cuts.is_file() else "is empty" if not cuts.stat().st_size else ""
    try:
        with gzip.open(os.devnull if fault else cuts) as file:
            for line in filter(bytes.strip, file):
                try:
                    record = from_json(line, cache_strings="keys")
                    name, recording = record["id"], record["recording"]
                    channels = recording.get("channel_ids") or [0]
                    recording["sampling_rate"] = rate_hz or recording["sampling_rate"]
                    place = places.get(name)
                    if name in seen:
                        fault = f"has '{name}' twice"
                        continue
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    fault = f"has a line that is no cut ({type(error).__name__})"
                    continue
                seen.add(name)
                if place is None:
                    lost.append(name)
                recording["sources"] = [
                    {"type": _SOURCE, "channels": channels, "source": where, "place": place}
                ]
                yield json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except (OSError, EOFError, zlib.error) as error:
        fault = f"is damaged ({type(error).__name__})"
    unread = [name for name in noted or places if name not in seen]
    if fault or unread:
        first = unread[0] if unread else None
        reason = fault or "is not of this tar"
        rejects[cuts.name] = {"count": len(unread), "first": first, "reason": reason}
    if lost:
        reason = "is missing" if not tar.is_file() else "is truncated, or not of these cuts"
        rejects[tar.name] = {"count": len(lost), "first": lost[0], "reason": reason}


def tar_file(folder: Path, number: int) -> Path:
    """Of the recordings of a shard."""
    return folder / f"recording.{number:06d}.tar"


def cuts_file(folder: Path, number: int) -> Path:
    """What says that a shard is complete."""
    return folder / f"cuts.{number:06d}.jsonl.gz"


def places_file(tar: Path) -> Path:
    """Where `asr prepare shar` notes what is where in a tar."""
    return tar.with_name(tar.name.replace("recording.", "places.").removesuffix(".tar") + ".json")


def with_checks(tar: Path, places: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int, str]]:
    """(begin, bytes, SHA-256) of each recording of a tar, as `asr prepare shar` notes them."""
    with tar.open("rb") as file:
        return {
            name: (begin, count, hashlib.sha256(os.pread(file.fileno(), count, begin)).hexdigest())
            for name, (begin, count) in places.items()
        }


def _noted_places(path: Path) -> dict[str, Place]:
    """(begin, bytes[, SHA-256]) of each; shards of an older version have no checks."""
    try:
        noted = {str(name): tuple(place) for name, place in read_json(path).items()}
        "".join(noted).encode()  # a name is half a character, and so of no utterance
        return noted if all(map(_is_place, noted.values())) else {}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _is_place(given: tuple[Any, ...]) -> bool:
    begin, count, sha256 = (*given, "")[:3] if len(given) in (2, 3) else ("", "", "")
    are_numbers = isinstance(begin, int) and isinstance(count, int)
    return are_numbers and isinstance(sha256, str) and sha256.isascii()


def _as_noted(tar: Path, noted: dict[str, Place]) -> dict[str, Place]:
    """Of the places noted those that are there in full; none if a header in the tar says otherwise.

    Much faster than `audio_places`, which reads every member of the tar.
    """
    places = {}
    try:
        with tar.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            for name, place in noted.items():
                begin, count = place[:2]
                if begin + count > len(content):
                    continue
                header = content[begin - tarfile.BLOCKSIZE : begin]
                there = header[: tarfile.LENGTH_NAME].partition(b"\0")[0].rpartition(b".")[0]
                # A long name, or one that is not ASCII, is not in the header whole.
                if there != name.encode() or int(header[124:135], 8) != count:
                    return {}
                places[name] = place
    except (OSError, ValueError, TypeError):  # missing, empty, or no tar
        return {}
    return places


def audio_places(tar: Path) -> dict[str, tuple[int, int]]:
    """(begin, bytes) of each recording that is there in full, by its name without the extension."""
    places: dict[str, tuple[int, int]] = {}
    try:
        size = tar.stat().st_size
        with tarfile.open(tar, "r:") as file:
            for member in file:
                name, _, kind = member.name.removeprefix("./").rpartition(".")
                is_audio = kind not in ("json", "nodata", "nometa")
                if is_audio and member.offset_data + member.size <= size:
                    places[name] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError):
        pass  # what came before is good; what did not come is counted by the caller
    return places


def _rate_hz(tar: Path) -> int | None:
    """Of a tar's audio, as Lhotse notes beside each recording: a codec may have changed it (Opus: 48 kHz)."""
    try:
        with tarfile.open(tar, "r:") as file:
            for member in itertools.islice(file, 2):
                noted = file.extractfile(member) if member.name.endswith(".json") else None
                if noted is not None:
                    return int(json.load(noted)["sampling_rate"])
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError):
        pass
    return None


def with_audio(record: dict[str, Any], folder: Path, store: StoreConfig) -> dict[str, Any]:
    """A cut whose recording Lhotse can read: one that lies in a tar of `folder` is brought into memory.

    Raises LostAudioError where the tar is gone or not what it was, StoreAwayError where its store is away.
    """
    recording: dict[str, Any] = record.get("recording") or {"sources": [{}]}
    source = recording["sources"][0]
    if source.get("type") != _SOURCE:
        return record
    tar, place, remote = source["source"], source["place"], remote_part(record)
    shown = f"{tar if is_address(tar) else folder / tar} (utterance '{record['id']}')"
    if place is None:
        raise LostAudioError(
            f"{shown}: is missing, cut short, or not of these cuts", "restore the shard"
        )
    try:
        content = bring(remote, store).content if remote else _read_local(folder / tar, *place)
    except DamagedError as error:
        raise LostAudioError(f"{shown}: {error}", "restore the shard") from None
    except OSError as error:
        raise LostAudioError(
            f"{shown}: cannot be read any more: {error.strerror or error}", "restore the shard"
        ) from None
    memory = {"type": "memory", "channels": source["channels"], "source": content}
    return {**record, "recording": {**recording, "sources": [memory]}}


def remote_part(record: dict[str, Any]) -> Part | None:
    """Where in a store a cut's recording is; None of one that is here, or that its shard has lost."""
    source = ((record.get("recording") or {}).get("sources") or [{}])[0]
    if source.get("type") != _SOURCE or not source["place"] or not is_address(source["source"]):
        return None
    begin, count, *sha256 = source["place"]
    return Part(source["source"], begin, count, sha256[0] if sha256 else None)


def _read_local(tar: Path, begin: int, count: int, sha256: str | None = None) -> bytes:
    refuse_pipe(tar)
    with tar.open("rb", buffering=0) as file:
        content = os.pread(file.fileno(), count, begin)
    check(content, count, sha256)
    return content
