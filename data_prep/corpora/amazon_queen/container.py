"""The game's one file, queen.1c: a table of resources, and their bytes.

Big-endian: `QTBL`, 6 bytes of version, 2 zero bytes, byte 12 the compression (1: MP3), u16 the number of
entries, then 21 bytes each: 12 of a NUL-padded name, u8 bundle, u32 offset in the file, u32 size.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from asr.errors import UserError

MP3 = 1
"""The compression of which the segments can be read."""

_HEAD = struct.Struct(">4s6s2xBH")
_ENTRY = struct.Struct(">12sBII")
_NAME = re.compile(rb"[A-Za-z0-9_#-]+(\.[A-Za-z0-9]+)?")  # some become names of files
_REMEDY = "take the file from Debian's flight-of-the-amazon-queen 1.0.0-9 again"


@dataclass(frozen=True)
class Container:
    """Bytes by resource name, in the order of the table."""

    path: Path
    resources: dict[str, bytes]

    def get(self, name: str) -> bytes:
        """Bytes of a resource. Raises UserError where there is none of that name."""
        if name not in self.resources:
            raise UserError(f"{self.path}: holds no {name}", _REMEDY)
        return self.resources[name]

    def named(self, suffix: str) -> dict[str, bytes]:
        """The resources whose name ends so, by the name without it, sorted."""
        names = sorted(name for name in self.resources if name.endswith(suffix))
        return {name.removesuffix(suffix): self.resources[name] for name in names}


def read_container(path: Path) -> Container:
    """All resources of a queen.1c. Raises UserError for a file that is none, or is damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})", "check the path") from None
    return parse_container(content, path)


def parse_container(content: bytes, path: Path) -> Container:
    """The same of a file's bytes; `path` is for messages."""
    if len(content) < _HEAD.size or content[:4] != b"QTBL":
        raise UserError(f"{path}: does not begin with QTBL but with {content[:4]!r}", _REMEDY)
    _, _, compression, count = _HEAD.unpack_from(content)
    if compression != MP3:
        raise UserError(
            f"{path}: its speech has compression {compression}, and {MP3} (MP3) can be read",
            _REMEDY,
        )
    if len(content) < _HEAD.size + count * _ENTRY.size:
        raise UserError(f"{path}: ends within its table of {count} resources", _REMEDY)
    resources: dict[str, bytes] = {}
    for number in range(count):
        padded, _, offset, size = _ENTRY.unpack_from(content, _HEAD.size + number * _ENTRY.size)
        name = padded.partition(b"\0")[0]
        where = f"{path}: resource {number + 1} of {count}, {name!r},"
        if not _NAME.fullmatch(name):
            raise UserError(f"{where} has a name that is none", _REMEDY)
        if name.decode() in resources:
            raise UserError(f"{where} is there twice", _REMEDY)
        if offset + size > len(content):
            raise UserError(
                f"{where} ends at byte {offset + size:,}, the file at {len(content):,}", _REMEDY
            )
        resources[name.decode()] = content[offset : offset + size]
    return Container(path, resources)
