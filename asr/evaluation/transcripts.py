"""Texts of utterances in the formats that people have: one reader each, all to `Transcript`s by id.

| format | as | an utterance is |
|---|---|---|
| lhotse | cuts or supervisions, .jsonl[.gz] | a cut, or a supervision |
| asr | what `asr decode` writes, .jsonl | a line |
| nemo | JSON lines with audio_filepath and text, hypotheses in pred_text | a line; its id is the file's path |
| kaldi | `text`: id, space, words | a line |
| tsv | id, TAB, text | a line |
| trn | NIST: words (id) | a line |
| stm | NIST: file channel speaker begin end [<labels>] words | a line; its id is FILE-CHANNEL-BEGIN-END |
| ctm | NIST: file channel begin duration word [confidence] | a file and channel; or a segment of an stm |
| librispeech | a folder with *.trans.txt below it | a line of those |
"""

from __future__ import annotations

import bisect
import gzip
import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from asr.errors import UserError

FORMATS = ("lhotse", "asr", "nemo", "kaldi", "tsv", "trn", "stm", "ctm", "librispeech")
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


@dataclass(frozen=True)
class _Word:
    text: str
    middle: float


class _LineError(UserError):
    """What is wrong with a line, of which we do not know the number yet."""


def read_transcripts(path: Path, role: Role, kind: str | None = None) -> dict[str, Transcript]:
    """Utterances by id, in the order of the file; `kind` is one of FORMATS, or None to look.

    Raises UserError with file, line and remedy.
    """
    kind = kind or guess_format(path)
    if kind == "ctm":
        return {
            name: Transcript(name, " ".join(word.text for word in words))
            for name, words in read_ctm(path).items()
        }
    found: dict[str, Transcript] = {}
    first: dict[str, str] = {}
    for file in sorted(path.rglob("*.trans.txt")) if kind == "librispeech" else [path]:
        for number, line in _lines(file):
            where = f"{file}, line {number}"
            try:
                one = _PARSERS[kind](line, role)
            except _LineError as fault:
                raise fault.at(where) from None
            if one is None:
                continue
            if one.id in found:
                raise UserError(
                    f"{where}: id '{one.id}' was already in {first[one.id]}", "keep one of them"
                )
            found[one.id], first[one.id] = one, where
    if not found:
        raise UserError(f"{path}: no utterance in it (read as {kind})", "see --format")
    return found


def guess_format(path: Path) -> str:
    """By the name, and for JSON by the first line. Raises UserError where that does not tell."""
    if path.is_dir():
        if next(path.rglob("*.trans.txt"), None) is None:
            raise UserError(
                f"{path}: a folder without *.trans.txt", "name a file, or give --format"
            )
        return "librispeech"
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder", "check the path")
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix in (".trn", ".stm", ".ctm", ".tsv"):
        return suffix[1:]
    if suffix in (".jsonl", ".json", ".manifest"):
        return _guess_json(path)
    line = next((line for _, line in _lines(path)), "")
    if line.lstrip().startswith("{"):
        return _guess_json(path)
    if re.search(r"\([^\s()]+\)\s*$", line):
        return "trn"
    return "tsv" if "\t" in line else "kaldi"


def _guess_json(path: Path) -> str:
    number, line = next(_lines(path), (1, ""))
    try:
        record = _record(line)
    except _LineError as fault:
        raise fault.at(f"{path}, line {number}") from None
    if "audio_filepath" in record:
        return "nemo"
    return "lhotse" if {"supervisions", "recording_id", "recording"} & set(record) else "asr"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with something on them and their numbers, from 1."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})", "convert it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})", "restore the file") from None


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise _LineError(f"not JSON ({error.msg}, column {error.colno})", "mend the line") from None
    if not isinstance(record, dict):
        raise _LineError("not a JSON object", "write one object a line")
    return record


def _text(record: Mapping[str, Any], name: str) -> str:
    """A field. Raises _LineError if it is not there, or is no text."""
    if name not in record:
        raise _LineError(f"has no '{name}'", "add it")
    if not isinstance(record[name], str):
        raise _LineError(f"'{name}' is not text ({json.dumps(record[name])})", "mend it")
    return str(record[name])


def _speaker(record: Mapping[str, Any]) -> str | None:
    speaker = record.get("speaker")
    return None if speaker is None else str(speaker)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and 0 <= value < math.inf:
        return float(value)
    raise _LineError(f"'{value}' is not a length in seconds", "mend it")


def _asr(line: str, role: Role) -> Transcript:
    record = _record(line)
    name, text = _text(record, "id"), _text(record, role)
    return Transcript(name, text, _seconds(record.get("seconds")), _speaker(record), record)


def _nemo(line: str, role: Role) -> Transcript:
    record = _record(line)
    name = _text(record, "audio_filepath")
    if record.get("offset") is not None:
        name += f"-{record['offset']}"
    text = _text(record, "text") if role == "reference" else _text(record, "pred_text")
    return Transcript(name, text, _seconds(record.get("duration")), _speaker(record), record)


def _lhotse(line: str, role: Role) -> Transcript:
    record = _record(line)
    name = _text(record, "id")
    supervisions = record.get("supervisions", [record])
    if not isinstance(supervisions, list) or not all(isinstance(s, dict) for s in supervisions):
        raise _LineError(
            "'supervisions' is not a list of objects", "write the manifest with lhotse"
        )
    texts = [str(s.get("text") or "") for s in supervisions]
    if not any("text" in s for s in supervisions):
        raise _LineError(f"'{name}' has no text", "references need a transcribed set")
    speakers = {str(s["speaker"]) for s in supervisions if s.get("speaker") is not None}
    customs = [one.get("custom") or {} for one in (*supervisions, record)]
    if not all(isinstance(custom, dict) for custom in customs):
        raise _LineError("'custom' is not an object", "write the manifest with lhotse")
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


_TSV_HEADERS = ("id", "utt", "utt_id", "utterance", "utterance_id", "path", "file", "filename")
"""First fields of a line that names the columns."""


def _tsv(line: str, role: Role) -> Transcript | None:
    name, tab, text = line.partition("\t")
    if not tab or not name.strip():
        raise _LineError("no TAB after the id", "write id, TAB, text")
    if "\t" in text:
        raise _LineError("a second TAB", "keep two columns: id, TAB, text")
    if name.strip().lower() in _TSV_HEADERS:
        return None
    return Transcript(name.strip(), text.strip())


_TRN = re.compile(r"^(?P<text>.*)\((?P<id>[^\s()]+)\)\s*$")


def _trn(line: str, role: Role) -> Transcript | None:
    if line.startswith(";;"):
        return None
    match = _TRN.match(line)
    if match is None:
        raise _LineError("no (id) at its end", "write the words, then the id in round brackets")
    name = match["id"]
    # In NIST's ids the speaker stands before the first hyphen or underscore.
    speaker = re.split(r"[-_]", name)[0] if re.search(r"[-_]", name) else None
    return Transcript(name, _nist_words(match["text"]), speaker=speaker)


def _nist_words(text: str) -> str:
    """Words of a NIST transcript: (optional) ones as plain words; alternatives are refused."""
    if "{" in text or "<ALT" in text:
        raise _LineError("alternatives ({ a / b }) are not supported", "write one of them")
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
        raise _LineError(
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


def read_ctm(path: Path) -> dict[str, list[_Word]]:
    """The words of each file and channel (FILE-CHANNEL), by time."""
    found: dict[str, list[_Word]] = {}
    for number, line in _lines(path):
        if line.startswith(";;"):
            continue
        parts = line.split()
        try:
            source, channel, begin, duration, word = parts[:5]
            middle = float(begin) + float(duration) / 2
            if not 0 <= middle < math.inf or len(parts) > 6:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path}, line {number}: not a word with its time",
                "write file, channel, begin, duration (seconds), word, [confidence]",
            ) from None
        if word.startswith("<ALT"):
            raise UserError(
                f"{path}, line {number}: alternatives (<ALT>) are not supported", "keep one of them"
            )
        found.setdefault(f"{source}-{channel}", []).append(_Word(word, middle))
    if not found:
        raise UserError(f"{path}: no word in it (read as ctm)", "see --format")
    for words in found.values():
        words.sort(key=lambda word: word.middle)
    return found


def into_segments(
    words: Mapping[str, list[_Word]], references: Mapping[str, Transcript]
) -> tuple[dict[str, Transcript], int]:
    """The words of a ctm by segment of an stm, and how many fall into none.

    A word belongs to the segment that has its middle; a recording that the ctm has not is left out. Raises
    UserError where segments of one recording overlap, or none is in the ctm.
    """
    found: dict[str, Transcript] = {}
    used = 0
    spans = sorted((one.span, name) for name, one in references.items() if one.span is not None)
    for (before, _), (span, name) in itertools.pairwise(spans):
        if span[0] == before[0] and span[1] < before[2]:
            raise UserError(
                f"segment '{name}' of the stm begins before the one at {before[1]:g} s of {span[0]} ends: "
                "a ctm's words cannot be told apart",
                "give each speaker a channel of his own",
            )
    for span, name in spans:
        source, begin, end = span
        if source not in words:
            continue
        first, last = (
            bisect.bisect_left(words[source], time, key=lambda word: word.middle)
            for time in (begin, end)
        )
        used += last - first
        text = " ".join(word.text for word in words[source][first:last])
        found[name] = replace(references[name], text=text)
    if not found:
        raise UserError(
            f"the ctm has the recordings {', '.join(sorted(words)[:3])} and the stm {spans[0][0][0]} (file "
            "and channel): none in common",
            "use the same names",
        )
    return found, sum(map(len, words.values())) - used


_PARSERS: dict[str, Callable[[str, Role], Transcript | None]] = {
    "asr": _asr,
    "nemo": _nemo,
    "lhotse": _lhotse,
    "kaldi": _kaldi,
    "librispeech": _kaldi,
    "tsv": _tsv,
    "trn": _trn,
    "stm": _stm,
}
