"""Lines of text files in the formats that people have: a parser each, all to `Transcript`s."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr.errors import UserError
from asr.utils.text_files import parse_json_line, refuse_pipe

Role = Literal["reference", "hypothesis"]


@dataclass(frozen=True)
class Transcript:
    """The text of one utterance, and what else its file says."""

    id: str
    text: str
    seconds: float | None = None
    speaker: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """All that the file says, for breakdowns."""
    span: tuple[str, float, float] | None = None
    """Of an stm segment: (file and channel, begin, end), in seconds."""


class LineError(UserError):
    """What is wrong with a line, of which we do not know the number yet."""


def numbered_lines(path: Path, also_empty: bool = False) -> Iterator[tuple[int, str]]:
    """Lines with something on them, or all, and their numbers, from 1."""
    try:
        refuse_pipe(path)
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip() or also_empty:
                    yield number, line
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})", "convert it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})", "restore the file") from None


def json_record(line: str) -> dict[str, Any]:
    """The object of a line. Raises LineError."""
    try:
        record = parse_json_line(line)
    except ValueError as error:
        raise LineError(str(error), "fix the line") from None
    if not isinstance(record, dict):
        raise LineError("not a JSON object", "write one object a line")
    return record


def length_seconds(value: Any) -> float | None:
    """`value` where it is a length in seconds, None where it is something else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LONGEST:
        return None
    return float(value)


_LONGEST = 1e12
"""Seconds; an int of JSON may be too large for a float."""


def _text(record: Mapping[str, Any], name: str) -> str:
    """A field. Raises LineError if it is not there, or is no text."""
    if name not in record:
        raise LineError(f"has no '{name}'", "add it")
    if not isinstance(record[name], str):
        raise LineError(f"'{name}' is not text ({json.dumps(record[name])})", "fix it")
    return str(record[name])


def _speaker(record: Mapping[str, Any]) -> str | None:
    speaker = record.get("speaker")
    return None if speaker is None else str(speaker)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    seconds = length_seconds(value)
    if seconds is None:
        raise LineError(f"'{str(value)[:40]}' is not a length in seconds", "fix it")
    return seconds


def _asr(line: str, role: Role) -> Transcript:
    record = json_record(line)
    name, text = _text(record, "id"), _text(record, role)
    return Transcript(name, text, _seconds(record.get("seconds")), _speaker(record), record)


def _nemo(line: str, role: Role) -> Transcript:
    record = json_record(line)
    name = _text(record, "audio_filepath")
    if record.get("offset") is not None:
        name += f"-{record['offset']}"
    text = _text(record, "text") if role == "reference" else _text(record, "pred_text")
    return Transcript(name, text, _seconds(record.get("duration")), _speaker(record), record)


def _lhotse(line: str, role: Role) -> Transcript:
    record = json_record(line)
    name = _text(record, "id")
    supervisions = record.get("supervisions", [record])
    if not isinstance(supervisions, list) or not all(isinstance(s, dict) for s in supervisions):
        raise LineError("'supervisions' is not a list of objects", "write the manifest with lhotse")
    if all(isinstance(s.get("start", 0.0), (int, float)) for s in supervisions):
        supervisions = sorted(supervisions, key=lambda s: s.get("start", 0.0))
    texts = [str(s.get("text") or "") for s in supervisions]
    if not any("text" in s for s in supervisions):
        raise LineError(f"'{name}' has no text", "references need a transcribed set")
    speakers = {str(s["speaker"]) for s in supervisions if s.get("speaker") is not None}
    customs = [one.get("custom") or {} for one in (*supervisions, record)]
    if not all(isinstance(custom, dict) for custom in customs):
        raise LineError("'custom' is not an object", "write the manifest with lhotse")
    language = next((s["language"] for s in supervisions if s.get("language")), None)
    return Transcript(
        name,
        " ".join(filter(None, texts)),
        _seconds(record.get("duration")),
        speakers.pop() if len(speakers) == 1 else None,
        {"language": language, **{k: v for custom in customs for k, v in custom.items()}},
    )


def _kaldi(line: str, role: Role) -> Transcript:
    name, *words = line.split()
    return Transcript(name, " ".join(words))


_ID_COLUMNS = ("id", "utt", "utt_id", "utterance", "utterance_id", "path", "file", "filename")
_TEXT_COLUMNS = (
    "text",
    "sentence",
    "transcript",
    "transcription",
    "reference",
    "hypothesis",
    "words",
)


def names_columns(line: str) -> bool:
    """Whether the first line of a TSV is a header.

    Raises LineError where it may be one, or an utterance of such a name and of one word.
    """
    name, _, text = (part.strip().lower() for part in line.partition("\t"))
    if name not in _ID_COLUMNS:
        return False
    if text in _TEXT_COLUMNS:
        return True
    if re.fullmatch(r"[a-z]+_[a-z_]+", text):
        raise LineError(
            f"'{name}', '{text}': names of columns, or an utterance",
            "call the columns id and text, or leave them out",
        )
    return False


def _tsv(line: str, role: Role) -> Transcript:
    name, tab, text = line.partition("\t")
    if not tab or not name.strip():
        raise LineError("no TAB after the id", "write id, TAB, text")
    if "\t" in text:
        raise LineError("a second TAB", "keep two columns: id, TAB, text")
    return Transcript(name.strip(), text.strip())


_TRN = re.compile(r"^(?P<text>.*)\((?P<id>[^\s()]+)\)\s*$")


def _trn(line: str, role: Role) -> Transcript | None:
    if line.startswith(";;"):
        return None
    match = _TRN.match(line)
    if match is None:
        raise LineError("no (id) at its end", "write the words, then the id in round brackets")
    name = match["id"]
    # In NIST's ids the speaker stands before the first hyphen or underscore.
    speaker = re.split(r"[-_]", name)[0] if re.search(r"[-_]", name) else None
    return Transcript(name, _nist_words(match["text"]), speaker=speaker)


def _nist_words(text: str) -> str:
    """Words of a NIST transcript: (optional) ones as plain words; alternatives are refused."""
    if "{" in text or "<ALT" in text:
        raise LineError("alternatives ({ a / b }) are not supported", "write one of them")
    words = (w[1:-1] if w[:1] == "(" and w[-1:] == ")" else w for w in text.split())
    return " ".join(word for word in words if word)


_STM = re.compile(
    r"^(?P<file>\S+)\s+(?P<channel>\S+)\s+(?P<speaker>\S+)\s+(?P<begin>\S+)\s+(?P<end>\S+)"
    r"(\s+<(?P<labels>[^>]*)>)?(\s+(?P<text>.*))?$"
)


def _stm(line: str, role: Role) -> Transcript | None:
    if line.startswith(";;"):
        return None
    match = _STM.match(line)
    try:
        assert match is not None
        begin, end = float(match["begin"]), float(match["end"])
        assert 0 <= begin <= end < math.inf
    except (AssertionError, ValueError):
        raise LineError(
            "not a segment", "write file, channel, speaker, begin, end (seconds), [<labels>], words"
        ) from None
    text = (match["text"] or "").strip()
    if text.upper() in ("IGNORE_TIME_SEGMENT_IN_SCORING", "IGNORE_TIME_SEGMENT_IN_SCORING>"):
        return None
    source = f"{match['file']}-{match['channel']}"
    return Transcript(
        f"{source}-{begin:.2f}-{end:.2f}",
        _nist_words(text),
        end - begin,
        match["speaker"],
        {"labels": match["labels"] or ""},
        (source, begin, end),
    )


PARSERS: dict[str, Callable[[str, Role], Transcript | None]] = {
    "asr": _asr,
    "nemo": _nemo,
    "lhotse": _lhotse,
    "kaldi": _kaldi,
    "librispeech": _kaldi,
    "tsv": _tsv,
    "trn": _trn,
    "stm": _stm,
}
