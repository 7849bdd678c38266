"""What an index keeps of the utterances of a manifest, from its lines."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from asr.data.manifest.admission import FILES_AND_TARS, admit
from asr.errors import UserError

_KINDS = ("MonoCut", "Cut")


@dataclass
class Rows:
    """Of some lines that follow each other."""

    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    """starts, lengths, crcs, seconds, keys, has_text: see ManifestIndex."""
    ids: list[str] = field(default_factory=list)
    characters: str = ""
    rates: dict[int, str] = field(default_factory=dict)
    has_tars: bool = False
    """Whether the audio of some lies in a tar."""
    fault: tuple[int, str, str] | None = None
    """The first line that is no utterance: the how manieth, what is wrong with it, the remedy."""


def rows_of(start: int, block: bytes) -> Rows:
    """The utterances of whole lines that begin at byte `start`; of none of them if one is at fault."""
    lines = block.split(b"\n")
    found = _Utterances()
    try:
        found.read(lines)
    except UserError as error:
        return Rows(fault=(len(found.keys) + 1, error.what, error.remedy))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"
        return Rows(fault=(len(found.keys) + 1, what, "run `asr prepare` again"))
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    starts = start + np.cumsum(lengths + 1) - lengths - 1
    is_row = np.fromiter(map(bool, map(bytes.strip, lines)), np.bool_, len(lines))
    columns = {
        "starts": starts[is_row],
        "lengths": lengths[is_row].astype(np.int32),
        "crcs": np.fromiter(map(zlib.crc32, lines), np.uint32, len(lines))[is_row],
        "seconds": np.array(found.seconds, np.float64),
        "keys": np.frombuffer(b"".join(found.keys), ">u8").astype(np.uint64),
        "has_text": np.fromiter(map(bool, found.texts), np.bool_, len(found.texts)),
    }
    rates = {rate: found.ids[found.rates.index(rate)] for rate in dict.fromkeys(found.rates)}
    characters = _characters("".join(found.texts))
    return Rows(columns, found.ids, characters, rates, found.has_tars)


def text_of(record: dict[str, Any]) -> str:
    """The transcript that a cut carries; empty where it has none."""
    supervisions = record.get("supervisions") or []
    if len(supervisions) > 1:  # as they are spoken, whatever order they are written in
        supervisions = sorted(supervisions, key=lambda one: one.get("start") or 0.0)
    parts = [supervision.get("text") or "" for supervision in supervisions]
    return " ".join(parts).strip()


@dataclass
class _Utterances:
    ids: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rates: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    has_tars: bool = False

    def read(self, lines: list[bytes]) -> None:
        """Raises what a line that is no utterance leads to, and UserError for one that is not admitted."""
        # One loop with few calls: it is what the first opening waits for.
        for line in lines:
            try:
                record = from_json(line, cache_strings="keys")  # more than twice as fast as json
            except ValueError:
                if not line.strip():
                    continue
                # Says what is wrong, or reads what is seldom met: a byte order mark, half a surrogate pair.
                record = json.loads(line)
                text_of(record).encode()
            if record.get("type", "MonoCut") not in _KINDS:
                raise ValueError(
                    f"a {record['type']}, and only single recordings can be trained on"
                )
            admit(record, FILES_AND_TARS)
            name = record["id"]
            holder = record.get("recording") or record.get("features") or {}
            self.has_tars |= "place" in (holder.get("sources") or ({},))[0]
            seconds = float(record["duration"])
            if not 0 < seconds < math.inf:
                raise ValueError(f"a duration of {record['duration']!r} seconds")
            self.seconds.append(seconds)
            self.rates.append(int(holder["sampling_rate"]))
            self.texts.append(text_of(record))
            self.ids.append(name)
            self.keys.append(_hash(name))


def key_of(name: str) -> np.uint64:
    """The hash of an utterance's id, by which an index finds it."""
    return np.uint64(int.from_bytes(_hash(name), "big"))


def _hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()


def _characters(text: str) -> str:
    """All that occur; by arrays, since a block has a million and a set takes them one by one."""
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    occurs = np.zeros(codes.max(initial=0) + 1, np.bool_)
    occurs[codes] = True
    return "".join(map(chr, np.flatnonzero(occurs).tolist()))
