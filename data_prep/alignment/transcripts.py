"""Transcripts of whole recordings: plain text, SRT or WebVTT, as people and programs leave them."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr.errors import UserError
from asr.utils.text_files import lines_of

from ..corpora.formats.tables import clean_text

EXTENSIONS = ("txt", "srt", "vtt")
"""Of files beside the recordings; the first that is there is taken."""

_CLOCK = r"(?:(\d+)\s*:\s*)?(\d+)\s*:\s*(\d+(?:\s*[.,]\s*\d+)?)"
_TIMES = re.compile(rf"^\s*{_CLOCK}\s*-+>\s*{_CLOCK}")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_NO_SPEECH = re.compile(r"\[[^\[\]]*\]|[♪♫#]+")
_ASIDE = re.compile(r"\([^()]*\)")
_BEGINS = re.compile(r"^\s*(?:[-–—>]+\s*)+")
_SPEAKER = re.compile(r"^\s*([^\W\d_][\w.'’-]*(?: [\w.'’-]+){0,2})\s*:\s+")
_REPEATED_WORDS = 3
"""A caption that rolls repeats its last line; a shorter line may be said twice."""


@dataclass(frozen=True)
class Line:
    """Of a transcript."""

    text: str
    begin: float | None = None
    """Seconds, as a caption has it: it says in what order lines are, and not when."""


def find_transcript(audio: Path) -> Path | None:
    """Beside a recording: a.txt, a.srt or a.vtt of a.mp3, in any case; also a.mp3.txt and a.en.vtt."""
    beside = [audio.with_suffix(f".{kind}") for kind in EXTENSIONS]
    beside += [audio.with_name(f"{audio.name}.{kind}") for kind in EXTENSIONS]
    found = next((path for path in beside if path.is_file()), None)
    if found is not None:
        return found
    names = [
        path
        for path in sorted(audio.parent.iterdir())
        if path.suffix.lower()[1:] in EXTENSIONS
        and path.name.startswith(f"{audio.stem}.")
        and path.name.count(".") <= audio.stem.count(".") + 2
    ]
    return next((path for path in names if path.is_file()), None)


def read_transcript(path: Path) -> tuple[list[Line], str]:
    """Lines with something to say in their order, and a note on how the file was read, or "".

    Raises UserError for a file that cannot be read, or is no captions though its name says so.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}", "name a file that can be read"
        ) from None
    text, note = _decoded(content, path)
    if path.suffix.lower() == ".txt" and not _is_captions(text):
        lines = [Line(line) for line in lines_of(text)]
    else:
        lines = _in_order(_cues(text, path))
    return list(_spoken(lines)), note


def _decoded(content: bytes, path: Path) -> tuple[str, str]:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace"), ""
    if b"\0" in content[:4096]:
        raise UserError(f"{path}: no text: it has zero bytes", "export it as UTF-8")
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        note = "not UTF-8, and so read as Latin-1 (convert it where that is wrong: iconv -f CP1251 -t UTF-8)"
        return content.decode("cp1252", "replace"), note


def _is_captions(text: str) -> bool:
    """Whether it has times as captions have, whatever its name."""
    return sum(_TIMES.match(line) is not None for line in lines_of(text)[:200]) >= 2


def _cues(text: str, path: Path) -> Iterator[Line]:
    """Line by line: blank lines and numbers may lack, or be too many."""
    lines = lines_of(text)
    if text.strip() and not any(map(_TIMES.match, lines)):
        raise UserError(
            f"{path}: no times in it, as in 00:01:02,345 --> 00:01:04,000",
            "rename it to .txt where it is plain text, or export it again",
        )
    begin: float | None = None
    is_left_out = False
    for place, line in enumerate(lines):
        times = _TIMES.match(line)
        following = lines[place + 1] if place + 1 < len(lines) else ""
        is_first = place == 0 or not lines[place - 1].strip()
        if times is not None:
            begin, is_left_out = _seconds(*times.groups()[:3]), False
        elif not line.strip():
            is_left_out = False
        elif is_first and re.match(r"(NOTE|STYLE|REGION|WEBVTT)\b", line):
            is_left_out = True
        elif _TIMES.match(following) and (line.strip().isdigit() or is_first):
            continue  # the number or name of a cue
        elif begin is not None and not is_left_out:
            yield Line(line, begin)


def _seconds(hours: str | None, minutes: str, seconds: str) -> float:
    rest = float(re.sub(r"\s", "", seconds).replace(",", "."))
    return 3600 * int(hours or 0) + 60 * int(minutes) + rest


def _in_order(cues: Iterator[Line]) -> list[Line]:
    """By time; without the lines that a rolling caption repeats."""
    lines = sorted(cues, key=lambda line: line.begin or 0.0)
    kept, before = list[Line](), list[list[str]]()
    for line in lines:
        words = _plain(line).split()
        if len(words) >= _REPEATED_WORDS and words in before[-2:]:
            continue
        kept.append(line)
        before.append(words)
    return kept


def _spoken(lines: list[Line]) -> Iterator[Line]:
    """Without markup, what is no speech, and the names of those who speak."""
    plain = [(line, _plain(line)) for line in lines]
    names = Counter(match[1] for _, text in plain if (match := _SPEAKER.match(text)))
    for line, text in plain:
        match = _SPEAKER.match(text)
        if match is not None and (match[1].isupper() or names[match[1]] > 1):
            text = text[match.end() :]
        text = clean_text(text)
        if text:
            yield Line(text, line.begin)


def _plain(line: Line) -> str:
    text = line.text
    if line.begin is not None:
        text = _ASIDE.sub(" ", html.unescape(_TAG.sub("", text)))
    return _BEGINS.sub("", _NO_SPEECH.sub(" ", text))
