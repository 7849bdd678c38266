"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from asr.utils.text_files import refuse_pipe


def file_sha256(path: Path) -> str:
    """Of a file's content, as 64 hexadecimal digits."""
    return files_sha256([path])


def files_sha256(paths: Iterable[Path]) -> str:
    """Of the content of files, one after the other."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    for path in paths:
        refuse_pipe(path)
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                digest.update(buffer[:count])
    return digest.hexdigest()


def sha256_of_digests(paths: Iterable[Path]) -> str:
    """Of the SHA-256 of each file, one after the other: where one ends and another begins counts, too.

    Raises OSError for one that cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()
