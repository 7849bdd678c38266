"""The game's file made small: a table of resources, dialogues, remarks, and speech of noise as MP3."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 11_025


def pack_container(resources: dict[str, bytes], compression: int = 1) -> bytes:
    offset = 15 + 21 * len(resources)
    table = b""
    for name, content in resources.items():
        table += struct.pack(">12sBII", name.encode(), 1, offset, len(content))
        offset += len(content)
    head = struct.pack(">4s6s2xBH", b"QTBL", b"CEM10", compression, len(resources))
    return head + table + b"".join(resources.values())


def pack_dialogue(
    key: int, joe: list[tuple[int, str]], other: list[tuple[int, str]], levels: int = 1
) -> bytes:
    joes, others = _pack_table(joe), _pack_table(other)
    others_at = 32 + 96 * abs(levels) + len(joes)
    head = struct.pack(">hxxhhh", levels, key, len(joe), len(other))
    head = head.ljust(22, b"\0") + struct.pack(">HHH", others_at, 0, others_at + len(others))
    return b"AmBk".ljust(20, b"\0") + head.ljust(32 + 96 * abs(levels), b"\0") + joes + others


def _pack_table(strings: list[tuple[int, str]]) -> bytes:
    table = b""
    for number, text in strings:
        encoded = text.encode("cp437")
        table += struct.pack(">2xHB", number, len(encoded)) + encoded
        table += b"\0" * (-len(table) % 4)
    return table


def speech(seconds: float = 0.5) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE_HZ))
    file = io.BytesIO()
    soundfile.write(file, noise, RATE_HZ, format="MP3")
    return file.getvalue()


def make_game(
    path: Path, dialogues: dict[str, bytes], remarks: list[str], segments: list[str]
) -> Path:
    """A queen.1c with one and the same noise for each of the named segments."""
    sound = speech()
    resources = {"QUEEN2.JAS": "\r\n".join([*remarks, ""]).encode("cp437"), "DATA": b"x"}
    resources |= {f"{name}.SB": sound for name in segments}
    resources |= {f"{name}.DOG": content for name, content in dialogues.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack_container(resources))
    return path
