"""Where the frames of an MP3 lie, so that a part of it is decoded without what comes before.

A decoder that seeks in an MP3 must have walked over all frames before, which takes a second in a file of ten
hours, and begins with a frame whose bits lie in the frames before it, which is wrong for some milliseconds.
The bytes from some frames before the part on are an MP3 of their own, and give the very samples.

Layout of frames and of the Xing and LAME tags: ISO/IEC 11172-3 and 13818-3, section 2.4.1.
"""

from __future__ import annotations

import mmap
from array import array
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DECODER_DELAY = 529
"""Samples by which decoders are late: they drop as many where a tag tells the encoder's own delay."""
_WARM_FRAMES = 3
"""In which a decoder's filters fill up."""
_RESERVOIR_BYTES = 1024
"""More than enough: the bits of a frame begin at most 511 bytes of such bits before it."""
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBIT_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBIT_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_TAG_BYTES = 64
_FRAMES_DROPPED = 4
_Bytes = mmap.mmap | bytearray | bytes


@dataclass(frozen=True)
class Place:
    """What to decode of a file for a part of it: `count` bytes from byte `begin` on."""

    begin: int
    count: int
    silenced: int
    """The first so many frames lack bits that lie before them, and are decoded as silence."""
    skipped: int
    """Samples that come out before the part."""

    def stream(self, path: Path) -> BytesIO:
        """An MP3 of these frames, behind a tag that says how many they are: without, decoders guess."""
        with path.open("rb") as file:
            file.seek(self.begin)
            content = bytearray(file.read(self.count))
        begin, frames = 0, 0
        while (found := _header(content, begin)) is not None and begin + found[1] <= len(content):
            if frames < self.silenced:
                _silence(content, begin)
            begin, frames = begin + found[1], frames + 1
        return BytesIO(_preamble(bytes(content[:4]), frames) + bytes(content[:begin]))


@dataclass(frozen=True)
class Mp3Frames:
    """The frames of audio of one file."""

    begins: NDArray[np.int64]
    """Byte of each, and the end of the last."""
    samples_per_frame: int
    delay: int
    """Samples that a decoder drops at the beginning."""

    def place(self, first: int, count: int) -> Place:
        """What to decode for `count` samples from sample `first` on, at the file's own rate."""
        frames = len(self.begins) - 1
        wanted = (first + self.delay) // self.samples_per_frame
        begin = sound = max(0, wanted - _WARM_FRAMES)
        while begin > 0 and self.begins[sound] - self.begins[begin] < _RESERVOIR_BYTES:
            begin -= 1
        last = (first + count + self.delay + _DECODER_DELAY) // self.samples_per_frame
        start, end = int(self.begins[begin]), int(self.begins[min(frames, last + 2)])
        # The silent frame that comes first, and what decoders drop of it.
        silent = self.samples_per_frame - _DECODER_DELAY
        skipped = silent + first + self.delay - begin * self.samples_per_frame
        return Place(start, end - start, sound - begin if begin else 0, skipped)


def mp3_frames(path: Path) -> Mp3Frames | None:
    """Walk over the frames of a file; None where it is not MP3 from its first frame to its last."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _walk(content)


def _walk(content: _Bytes) -> Mp3Frames | None:
    begin = _after_id3(content)
    first = _header(content, begin)
    if first is None:
        return None
    samples, own_bytes, _ = first
    delay, is_tag = _tag(content, begin, own_bytes)
    begin += own_bytes if is_tag else 0
    begins, lengths = array("q"), dict[bytes, tuple[int, int, bytes] | None]()
    while begin + 4 <= len(content):
        head = bytes(content[begin : begin + 4])
        if head not in lengths:
            lengths[head] = _header(content, begin)
        found = lengths[head]
        if found is None:
            if content[begin : begin + 3] == b"TAG" or not content[begin:].strip(b"\0"):
                break
            return None
        if found[0] != samples or found[2] != first[2]:
            return None
        if begin + found[1] > len(content):
            break
        begins.append(begin)
        begin += found[1]
    begins.append(begin)
    return Mp3Frames(np.array(begins, np.int64), samples, delay) if len(begins) > 1 else None


def _after_id3(content: _Bytes) -> int:
    begin = 0
    while content[begin : begin + 3] == b"ID3" and begin + 10 <= len(content):
        size = 0
        for byte in content[begin + 6 : begin + 10]:
            size = size << 7 | byte & 0x7F
        begin += 10 + size + (10 if content[begin + 5] & 0x10 else 0)
    return begin


def _header(content: _Bytes, begin: int) -> tuple[int, int, bytes] | None:
    """Samples of a frame, its bytes, and what is the same in all frames of a file; None where none begins."""
    head = content[begin : begin + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    kbit, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer != 1 or kbit in (0, 15) or rate == 3:
        return None
    samples = 1152 if version == 3 else 576
    table = _KBIT_V1 if version == 3 else _KBIT_V2
    own_bytes = samples // 8 * table[kbit] * 1000 // _RATES_HZ[version][rate] + padding
    return samples, own_bytes, bytes([head[1] & 0xFE, rate])


def _tag(content: _Bytes, begin: int, own_bytes: int) -> tuple[int, bool]:
    """Samples to drop at the beginning, and whether the first frame holds a tag and no audio."""
    frame = content[begin : begin + own_bytes]
    place = next((at for at in map(frame.find, (b"Xing", b"Info")) if 0 <= at < 64), None)
    if place is None:
        return 0, frame.find(b"VBRI", 0, 64) >= 0
    flags = int.from_bytes(frame[place + 4 : place + 8], "big")
    lame = place + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1)
    lame += 4 * (flags >> 3 & 1)
    said = frame[lame + 21 : lame + 24]
    if len(said) < 3 or not frame[lame : lame + 4].strip(b"\0"):
        return 0, True
    return (said[0] << 4 | said[1] >> 4) + _DECODER_DELAY, True


def _side_bytes(head: bytes | bytearray) -> int:
    """Of the side information of a frame, which says where its bits are."""
    is_mono, is_version_1 = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    return (17 if is_mono else 32) if is_version_1 else (9 if is_mono else 17)


def _silence(content: bytearray, begin: int) -> None:
    """Let a frame say that it has no bits of its own. Where its bits begin stays: the next frame's decoding
    goes by it."""
    side = begin + (4 if content[begin + 1] & 1 else 6)
    is_version_1 = content[begin + 1] >> 3 & 3 == 3
    end = side + _side_bytes(content[begin : begin + 4])
    content[side + 1] &= 0x80 if is_version_1 else 0
    content[side + 2 : end] = bytes(end - side - 2)


def _preamble(head: bytes, frames: int) -> bytes:
    """A tag that says how many frames follow, and a silent frame, of which decoders drop a part."""
    least = 4 + _side_bytes(head) + _TAG_BYTES if len(head) == 4 else 0
    for kbit in range(1, 15):
        own = bytes([head[0], head[1] | 1, kbit << 4 | head[2] & 0x0C, head[3]]) if least else b""
        found = _header(own, 0)
        if found is not None and found[1] >= least:
            # More than there are: what decoders drop at the end is not there either.
            said = (frames + 1 + _FRAMES_DROPPED).to_bytes(4, "big")
            tag = own + bytes(_side_bytes(own)) + b"Xing\0\0\0\1" + said
            return tag.ljust(found[1], b"\0") + own.ljust(found[1], b"\0")
    raise OSError("no frame of an MP3 where its manifest says")
