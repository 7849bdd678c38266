"""Text files that others wrote: UTF-8 or said to be none, with any line ends."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

from asr.errors import UserError

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_OF_A_SHELL = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/(self|\d+)/fd/\d+")
"""What <(a command) is called: /dev/fd/N by bash, /proc/self/fd/N by zsh."""


def refuse_pipe(path: Path) -> None:
    """Raises OSError for a pipe, but for those of <(a command): opening it could wait for ever."""
    if path.is_fifo() and not _OF_A_SHELL.fullmatch(str(path)):
        raise OSError("a pipe, which could be waited for without an end")


def refuse_own_pipe(path: Path) -> None:
    """The same of a file of ours that nobody gives by name. Raises UserError."""
    try:
        refuse_pipe(path)
    except OSError as error:
        raise UserError(f"{path}: {error}", "remove it, or restore the file") from None


def read_text(path: Path, name: str = "") -> str:
    """The text of a file, unpacked where it is gzip, without a byte order mark.

    `name` is the option that named it, for messages. Raises UserError where it is missing, empty, cut short, or
    not UTF-8.
    """
    where = f"{name} {path}".strip()
    try:
        refuse_pipe(path)
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{where}: gzip is damaged or cut short ({error})", "copy it again"
        ) from None
    except OSError as error:
        raise UserError(
            f"{where}: {error.strerror or error}", "name a text file that can be read"
        ) from None
    if not content.strip():
        raise UserError(f"{where}: the file is empty", "copy or export it again")
    return decoded(content, where)


def decoded(content: bytes, where: str) -> str:
    """Bytes as text. Raises UserError, naming the line, for what is not UTF-8."""
    if content[:2] in _UTF_16 or b"\0" in content[:1000]:
        is_utf_16 = content[:2] in _UTF_16 or content[1:2] == b"\0" or content[:1] == b"\0"
        kind = "UTF-16 and not UTF-8" if is_utf_16 else "no text: it has zero bytes"
        remedy = "convert it: iconv -f UTF-16 -t UTF-8" if is_utf_16 else "name a text file"
        raise UserError(f"{where}: is {kind}", remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{where}:{line}: not UTF-8 (byte 0x{content[error.start]:02x})",
            "convert it, as in iconv -f LATIN1 -t UTF-8, or -f CP1251 of Russian",
        ) from None


def lines_of(text: str) -> list[str]:
    """Its lines, whether they end as on Linux, Windows or old Macs; other separators are no line ends."""
    return re.split(r"\r\n|\n|\r", text)


def read_pairs(path: Path, name: str = "", what: str = "text") -> dict[str, tuple[int, str]]:
    """Of lines `id TAB text`, or with other white space behind the first word: line number and text by id.

    Raises UserError, naming the line, for one without text, and an id that is there with another text.
    """
    where = f"{name} {path}".strip()
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines_of(read_text(path, name)), start=1):
        if not line.strip():
            continue
        key, tab, text = line.partition("\t")
        key, text = (key.strip(), text.strip()) if tab else (*line.split(maxsplit=1), "", "")[:2]
        if not key or not text:
            raise UserError(
                f"{where}:{number}: no {what} behind the id ({line[:60]!r})",
                f"write id, TAB, {what}, or leave the line out",
            )
        before, said = found.setdefault(key, (number, text))
        if said != text:
            raise UserError(
                f"{where}:{number}: '{key}' has another {what} on line {before}", "keep one of them"
            )
    return found


def json_of(text: str) -> Any:
    """What JSON says. Raises ValueError for what is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of thousands of digits, brackets in brackets
        raise ValueError(f"not JSON that can be read ({error})") from None


def parse_json_line(line: str) -> Any:
    """The same. Raises ValueError for text, too, that no file of text can hold."""
    found = json_of(line)
    if "\\ud" in line.lower():
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{error.object[error.start]!a} is half a character") from None
    return found
