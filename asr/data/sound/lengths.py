"""Whether a file holds as much audio as its header says: libsndfile believes headers, and hides what differs.

Layouts: RIFF (Microsoft, IBM), RF64 (EBU Tech 3306), W64 (Sony), AIFF (Apple), AU (Sun), CAF (Apple),
SPHERE (NIST); FLAC: RFC 9639; Ogg: RFC 3533.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

TRUNCATED, LONGER = "truncated", "longer_than_stated"
_UNKNOWN_BYTES = 0x7FFF_0000
"""Writers to a pipe do not know the length and leave the largest 31 or 32-bit number, more or less."""
_UNKNOWN_SAMPLES = 1 << 62
# The length of an MP3 without an index is an estimate.
_ESTIMATED_LENGTH_MARGIN = {"MP3": 0.95}
_LAST_PAGE = 4
"""A bit of an Ogg page's flags."""
_TAIL_BYTES = 1 << 17
"""More than a frame of FLAC has as a rule."""
_CHUNKS = {b"RIFF": ("<4sI", b"data"), b"FORM": (">4sI", b"SSND"), b"caff": (">4sq", b"data")}
"""By a file's first bytes: how a chunk begins, and which one holds the samples."""
_WAVE_64 = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
"""A W64's first bytes: its chunks have names of 16, and count their 24 bytes of heading."""
_NO_CHUNK = (
    "bytes of something else follow what the header states: the recorder did not write its length"
)


class LengthFault(NamedTuple):
    """How a file differs from its header."""

    reason: str
    """TRUNCATED, or LONGER than the header says."""
    detail: str


def stated_in(path: Path) -> LengthFault | None:
    """`stated_otherwise` of a file; of one that can be read once only, such as a pipe, nothing is known."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return stated_otherwise(file)


def stated_otherwise(file: BinaryIO) -> LengthFault | None:
    """What is wrong with the length that a header states; None where it is right, unknown or not stated."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    head = file.read(42)
    if head[:4] in _CHUNKS:
        file.seek(8 if head[:4] == b"caff" else 12)
        return _chunks_otherwise(file, size, *_CHUNKS[head[:4]])
    if head[:4] in (b"RF64", b"BW64"):
        return _rf64_otherwise(file, size, head)
    if head[:16] == _WAVE_64:
        return _w64_otherwise(file, size)
    if head[:7] == b"NIST_1A":
        return _sphere_otherwise(file, size)
    if head[:4] == b".snd" and len(head) >= 24:
        begin, stated = struct.unpack(">II", head[4:12])
        return _compared(stated, size - begin) if stated < _UNKNOWN_BYTES else None
    if head[:4] == b"fLaC" and len(head) == 42:
        return _flac_otherwise(file, size, head)
    if head[:4] == b"OggS":
        return _ogg_otherwise(file, size)
    return None


def decoded_otherwise(kind: str, stated: int, decoded: int) -> LengthFault | None:
    """The same of what a decoder found; `kind` and `stated` samples as libsndfile has them."""
    if decoded < _ESTIMATED_LENGTH_MARGIN.get(kind, 1.0) * stated < _UNKNOWN_SAMPLES:
        detail = f"the header promises {stated} samples, {decoded} could be decoded"
        return LengthFault(TRUNCATED, detail)
    return None


def is_unknown(samples: int) -> bool:
    """Whether a header does not state the length."""
    return samples >= _UNKNOWN_SAMPLES


def _compared(stated: int, present: int) -> LengthFault | None:
    if stated > present:
        detail = f"the header promises {stated} bytes of samples, the file holds {present}"
        return LengthFault(TRUNCATED, detail)
    if stated < present - 1:  # a byte may pad it
        detail = (
            f"the header promises {stated} bytes of samples, and {present - stated} more follow"
        )
        return LengthFault(LONGER, detail)
    return None


def _chunks_otherwise(file: BinaryIO, size: int, layout: str, wanted: bytes) -> LengthFault | None:
    found = False
    while len(chunk := file.read(struct.calcsize(layout))) == struct.calcsize(layout):
        name, length = struct.unpack(layout, chunk)
        begin = file.tell()
        if name == wanted:
            found = True
            if length < 0 or length >= _UNKNOWN_BYTES:
                return None
            if length > size - begin or length == 0:
                return _compared(length, size - begin)
        elif (found and not (name.strip(b"\0 ").isascii() and name.strip(b"\0 ").isalnum())) or (
            found and length > size - begin
        ):
            return LengthFault(LONGER, f"{size - begin + len(chunk)} {_NO_CHUNK}")
        padded = length if layout.endswith("q") else length + length % 2
        file.seek(begin + padded)
    return None


def _rf64_otherwise(file: BinaryIO, size: int, head: bytes) -> LengthFault | None:
    """The length of the samples stands in the first chunk, where it may have 64 bits."""
    if head[12:16] != b"ds64" or len(head) < 36:
        return None
    stated = int.from_bytes(head[28:36], "little")
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            present = size - file.tell()
            return _compared(stated, present) if stated > present or not stated else None
        if length > size:
            return None
        file.seek(length + length % 2, os.SEEK_CUR)
    return None


def _w64_otherwise(file: BinaryIO, size: int) -> LengthFault | None:
    file.seek(40)
    while len(chunk := file.read(24)) == 24:
        length = int.from_bytes(chunk[16:], "little")
        if chunk[:4] == b"data":
            stated, present = length - 24, size - file.tell()
            return _compared(stated, present) if stated > present or stated <= 0 else None
        if not 24 <= length <= size:
            return None
        file.seek(length - 24 + -length % 8, os.SEEK_CUR)
    return None


def _sphere_otherwise(file: BinaryIO, size: int) -> LengthFault | None:
    """Of samples that are not compressed."""
    file.seek(0)
    lines = file.read(4096).split(b"\n")
    fields = {parts[0]: parts[2] for line in lines[2:] if len(parts := line.split()) == 3}
    names = (b"sample_count", b"sample_n_bytes", b"channel_count")
    numbers = [fields.get(name, b"") for name in names]
    if len(lines) < 2 or not all(number.strip().isdigit() for number in (lines[1], *numbers)):
        return None
    if b"embedded" in fields.get(b"sample_coding", b""):
        return None
    return _compared(math.prod(map(int, numbers)), size - int(lines[1]))


def _ogg_otherwise(file: BinaryIO, size: int) -> LengthFault | None:
    """Whether the last page is whole and says that it is the last one, as that of a recorded stream may not."""
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[26] if len(page) > 26 else 0
    length = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < length:
        return LengthFault(
            TRUNCATED, f"the last page has {length} bytes, the file holds {len(page)}"
        )
    if not page[5] & _LAST_PAGE:
        return LengthFault(
            TRUNCATED,
            "its last page is not marked as the last one; `ffmpeg -c copy` marks that of a whole one",
        )
    return None


def _flac_otherwise(file: BinaryIO, size: int, head: bytes) -> LengthFault | None:
    """The place of the last frame against the number of samples in STREAMINFO."""
    least, most = struct.unpack(">HH", head[8:12])
    stated = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    if not stated or least != most:
        return None
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    at = tail.rfind(b"\xff\xf8")
    while at >= 0:
        last = _flac_frame(tail[at : at + 16], least)
        if last is not None:
            begin, end = last
            if begin >= stated:
                detail = f"the header promises {stated} samples, the file holds {end}"
                return LengthFault(LONGER, detail)
            return None
        at = tail.rfind(b"\xff\xf8", 0, at)
    return None


def _flac_frame(head: bytes, block: int) -> tuple[int, int] | None:
    """First sample of a frame and the one behind it; None where none begins. RFC 9639, section 9.1."""
    if len(head) < 16:
        return None
    code, rate, first = head[2] >> 4, head[2] & 15, head[4]
    more = 0 if first < 0x80 else 8 - (~first & 0xFF).bit_length() - 1
    if code == 0 or rate == 15 or (first >= 0x80 and more < 1):
        return None
    number = first if not more else first & (0x3F >> more)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at = 5 + more
    own = block
    if code in (6, 7):
        own = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if at >= len(head) or _crc_8(head[:at]) != head[at]:
        return None
    return number * block, number * block + own


def _crc_8(content: bytes) -> int:
    remainder = 0
    for byte in content:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x07 if remainder & 0x80 else 0)) & 0xFF
    return remainder
