"""CTranslate2's file of weights, model.bin, as arrays. Nothing of CTranslate2 is needed.

Little-endian: u32 version (6), string specification, u32 revision, u32 number of tensors; then each: string
name, u8 rank, u32 per dimension, u8 type, u32 number of bytes, bytes. A string is u16 length, the closing NUL
counted, and its bytes. Aliases follow, which are not read.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError

VERSION = 6
TYPES: dict[int, str] = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
"""NumPy's names of CTranslate2's types."""


def read_tensors(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Tensors by name, as views of `content`. Raises UserError, naming `where`, for what is no such file."""
    reader = _Reader(content)
    try:
        version = reader.number("I")
        if version != VERSION:
            raise ValueError(f"its version is {version}, and {VERSION} can be read")
        reader.string()
        reader.number("I")
        return dict(reader.tensor() for _ in range(reader.number("I")))
    except (struct.error, ValueError, LookupError) as error:
        raise UserError(
            f"{where}: not CTranslate2's weights as they should be ({error})", "fetch it again"
        ) from None


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._content, self._at)
        self._at += struct.calcsize(f"<{kind}")
        return int(value)

    def string(self) -> str:
        return self._take(self.number("H")).removesuffix(b"\0").decode()

    def tensor(self) -> tuple[str, NDArray[Any]]:
        name = self.string()
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind = self.number("B")
        if kind not in TYPES:
            raise ValueError(f"'{name}' has type {kind}, known are {', '.join(map(str, TYPES))}")
        array = np.frombuffer(self._take(self.number("I")), TYPES[kind])
        return name, array.reshape(shape)

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._content):
            raise ValueError(f"it ends at byte {len(self._content):,}, before {self._at:,}")
        return self._content[start : self._at]
