"""Who says what: the dialogues (.DOG) and Joe's remarks (QUEEN2.JAS) as texts of .SB segments.

A dialogue, behind the 20 bytes of an AMOS bank's header, big-endian: s16 at 0 levels L, at 4 talk key, at 6 and
8 the numbers of Joe's and the other's strings; u16 at 22 where the other's table starts; Joe's starts at
32 + 96 x |L|. A table's entry: 2 bytes, u16 id, u8 length and so many bytes, padded to 4.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from asr.errors import UserError

from .container import Container

JOE = "joe"
"""The main character."""

_BANK_HEADER_BYTES = 20
_JOES_TABLE = 32, 96
_COMMAND = re.compile(r"\*..")
_CHARACTER = re.compile(r"(\D+?)\d*")
_REMARKS = "QUEEN2.JAS"
_REMARK = re.compile(r"JOE(\d{4})([0-9A-F])")
_FIRST_REMARK = 41  # below it the numbers mean something else
_KEYED = re.compile(r"(\d\d)....([JP])[0-9A-F]")


@dataclass(frozen=True)
class Dialogue:
    """A file's talk key, and id and text of each string of Joe's and of the other speaker's."""

    key: int
    joe: list[tuple[int, str]]
    other: list[tuple[int, str]]


@dataclass(frozen=True)
class Segment:
    """A recording as the game has it: `character` is None where it is not known who speaks.

    `texts` are the texts that the game gives for it: none, one, or several that contradict each other.
    """

    name: str
    character: str | None
    texts: tuple[str, ...]


def read_dialogue(content: bytes, where: str) -> Dialogue:
    """Parse a .DOG. Raises UserError, naming `where`, for one that is damaged."""
    body = content[_BANK_HEADER_BYTES:]
    try:
        levels, key, joes, others = (struct.unpack_from(">h", body, at)[0] for at in (0, 4, 6, 8))
        (others_at,) = struct.unpack_from(">H", body, 22)
        start, per_level = _JOES_TABLE
        return Dialogue(
            key,
            _read_table(body, start + per_level * abs(levels), joes),
            _read_table(body, others_at, others),
        )
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise UserError(
            f"{where}: not a dialogue as the game writes them ({error})",
            "take the file from Debian's flight-of-the-amazon-queen 1.0.0-9 again",
        ) from None


def cut_segments(text: str) -> list[str]:
    """A text in the parts that were recorded: it is cut at commands, '*' and two characters."""
    return _COMMAND.split(text)


def character_of(dialogue: str) -> str:
    """The other speaker of a dialogue by the name of its file: FAYE2 is faye's second."""
    match = _CHARACTER.fullmatch(dialogue)
    return (match[1] if match else dialogue).lower()


def list_segments(container: Container) -> list[Segment]:
    """All recordings, sorted by name, with what the game says about them. Raises UserError when damaged."""
    texts: dict[str, list[str]] = {}
    characters: dict[tuple[int, str], set[str]] = {}
    for name, content in container.named(".DOG").items():
        dialogue = read_dialogue(content, f"{container.path}: {name}.DOG")
        for letter, strings in (("J", dialogue.joe), ("P", dialogue.other)):
            character = JOE if letter == "J" else character_of(name)
            characters.setdefault((dialogue.key, letter), set()).add(character)
            for number, text in strings:
                _add(texts, f"{dialogue.key:02d}{number:04X}{letter}", text)
    remarks = container.get(_REMARKS).decode("cp437").split("\r\n")
    for number, text in enumerate(remarks, start=_FIRST_REMARK):
        _add(texts, f"JOE{number:04d}", text)
    return [
        Segment(name, _who(name, characters), tuple(dict.fromkeys(texts.get(name, ()))))
        for name in container.named(".SB")
    ]


def write_segments(container: Container, folder: Path) -> None:
    """Write each recording's MP3 to FOLDER/NAME.mp3."""
    for name, content in container.named(".SB").items():
        (folder / f"{name}.mp3").write_bytes(content)


def _add(texts: dict[str, list[str]], prefix: str, text: str) -> None:
    for number, part in enumerate(cut_segments(text), start=1):
        if part.strip():
            texts.setdefault(f"{prefix}{number:X}", []).append(part)


def _who(name: str, characters: dict[tuple[int, str], set[str]]) -> str | None:
    if _REMARK.fullmatch(name):
        return JOE
    keyed = _KEYED.fullmatch(name)
    found = characters.get((int(keyed[1]), keyed[2]), set()) if keyed else set()
    return next(iter(found)) if len(found) == 1 else None


def _read_table(body: bytes, at: int, count: int) -> list[tuple[int, str]]:
    strings = []
    for _ in range(count):
        number, length = struct.unpack_from(">2xHB", body, at)
        at += 5
        if at + length > len(body):
            raise IndexError(f"a text of {length} characters at byte {at} of {len(body)}")
        strings.append((number, body[at : at + length].decode("cp437")))
        at = (at + length + 3) // 4 * 4
    return strings
