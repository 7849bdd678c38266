"""A label as a line of text, to and fro, in the formats that people have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from asr.errors import UserError
from asr.evaluation.transcript_lines import LineError, json_record


@dataclass(frozen=True)
class WrittenLabel:
    """The label of one utterance, as a file has it."""

    id: str
    text: str
    """With single spaces."""
    confidence: float | None = None
    """From 0 to 1; None where nobody says."""
    seconds: float | None = field(default=None, compare=False)
    reference: str = field(default="", compare=False)
    cut: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    """The utterance's line in a Lhotse manifest: where its audio is."""
    is_named_by_path: bool = field(default=False, compare=False)
    """`id` is the recording's path, since the file gives no other name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join(self.text.split()))

    @property
    def audio(self) -> str | None:
        """Path of the recording; None where it lies in a shard, or is not known."""
        recording = (self.cut or {}).get("recording") or {}
        sources = recording.get("sources") or [{}]
        return str(sources[0]["source"]) if sources[0].get("type") == "file" else None


def confidence_of(value: Any) -> float | None:
    """A number from 0 to 1, or None where there is none. Raises LineError for another number."""
    if value is None or value == "" or isinstance(value, (bool, list, dict)):
        return None
    try:
        confidence = float(value)
    except (TypeError, ValueError):
        raise LineError(f"confidence {value!r} is not a number", "write one from 0 to 1") from None
    if not 0 <= confidence <= 1:
        raise LineError(
            f"confidence {confidence:g} is not from 0 to 1",
            "of a mean log-probability x write exp(x)",
        )
    return confidence


def _text(record: Mapping[str, Any], name: str) -> str:
    if not isinstance(record.get(name), str):
        raise LineError(f"'{name}' is not text ({json.dumps(record.get(name))})", "fix the line")
    return str(record[name])


def _id(record: Mapping[str, Any]) -> str:
    name = _text(record, "id")
    if not name:
        raise LineError("an empty id", "name the utterance")
    return name


# The label of a line, and None for a line without one: a heading, an utterance that nobody has labelled.


def _read_asr(line: str, number: int) -> WrittenLabel | None:
    record = json_record(line)
    return WrittenLabel(
        _id(record), _text(record, "hypothesis"), confidence_of(record.get("confidence"))
    )


def _read_lhotse(line: str, number: int) -> WrittenLabel | None:
    record = json_record(line)
    supervisions = record.get("supervisions", [record])
    if not isinstance(supervisions, list) or not all(isinstance(s, dict) for s in supervisions):
        raise LineError("'supervisions' is not a list of objects", "write the manifest with lhotse")
    said = [one for one in supervisions if one.get("text") is not None]
    if not said:
        return None
    found = [confidence_of((one.get("custom") or {}).get("confidence")) for one in said]
    known = [confidence for confidence in found if confidence is not None]
    text = " ".join(_text(one, "text") for one in said)
    return WrittenLabel(_id(record), text, min(known) if len(known) == len(said) else None)


def _read_nemo(line: str, number: int) -> WrittenLabel | None:
    record = json_record(line)
    name = "pred_text" if "pred_text" in record else "text"
    text, confidence = _text(record, name), confidence_of(record.get("confidence"))
    if "id" in record:
        return WrittenLabel(_id(record), text, confidence)
    if record.get("offset"):
        raise LineError("a part of a recording without an 'id'", "add the utterance's id")
    return WrittenLabel(_text(record, "audio_filepath"), text, confidence, is_named_by_path=True)


_KALDI = re.compile(r"[ \t]*([^ \t]+)(.*)", re.DOTALL)


def read_kaldi(line: str, number: int) -> WrittenLabel | None:
    """`id words`; confidences are in a file of their own."""
    match = _KALDI.fullmatch(line)
    if match is None:
        raise LineError("no id", "write id, space, words")
    return WrittenLabel(match[1], match[2])


_TSV_HEADING = ("id", "utt", "utt_id", "utterance", "utterance_id")


def _read_tsv(line: str, number: int) -> WrittenLabel | None:
    fields = line.split("\t")
    if not 2 <= len(fields) <= 3 or not fields[0].strip():
        raise LineError(
            f"{len(fields)} columns", "write id, TAB, text; and where it is known, TAB, confidence"
        )
    if number == 1 and fields[0].strip().lower() in _TSV_HEADING:
        return None
    return WrittenLabel(fields[0], fields[1], confidence_of(fields[2] if fields[2:] else None))


READERS: dict[str, Callable[[str, int], WrittenLabel | None]] = {
    "asr": _read_asr,
    "lhotse": _read_lhotse,
    "nemo": _read_nemo,
    "kaldi": read_kaldi,
    "tsv": _read_tsv,
}
"""The label of a line and its number, from 1. They raise LineError."""


# And back.


def _json_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _write_asr(label: WrittenLabel) -> str:
    cut = label.cut or {}
    said: dict[str, Any] = next(iter(cut.get("supervisions") or []), {})
    return _json_line(
        {
            "id": label.id,
            "reference": label.reference,
            "hypothesis": label.text,
            "confidence": label.confidence,
            "seconds": label.seconds or 0.0,
            **{name: said.get(name) for name in ("speaker", "language", "gender")},
            "audio": label.audio,
            "audio_begin": cut.get("start", 0.0),
        }
    )


def _write_nemo(label: WrittenLabel) -> str:
    if label.audio is None:
        raise UserError(
            f"utterance '{label.id}' has no audio file of its own, which NeMo's lines name",
            "export another format, or label the set before it is put into shards",
        )
    record: dict[str, Any] = {"audio_filepath": label.audio}
    begin = (label.cut or {}).get("start")
    if begin:
        record["offset"] = begin
    record |= {"duration": label.seconds, "text": label.text, "id": label.id}
    if label.confidence is not None:
        record["confidence"] = label.confidence
    return _json_line(record)


def write_cut(label: WrittenLabel) -> str:
    """A line of Lhotse's cuts, whose only supervision is the label."""
    assert label.cut is not None
    return _json_line({**label.cut, "supervisions": [_supervision(label)]})


def write_supervision(label: WrittenLabel) -> str:
    """A line of Lhotse's supervisions, which are placed in their recording."""
    return _json_line({**_supervision(label), "start": (label.cut or {}).get("start", 0.0)})


def _supervision(label: WrittenLabel) -> dict[str, Any]:
    cut = label.cut or {}
    former: dict[str, Any] = next(iter(cut.get("supervisions") or []), {})
    record = {
        "id": label.id,
        "recording_id": (cut.get("recording") or {}).get("id", label.id),
        "start": 0.0,
        "duration": cut.get("duration", label.seconds or 0.0),
        "channel": cut.get("channel", 0),
        "text": label.text,
        **{name: former[name] for name in ("speaker", "language", "gender") if former.get(name)},
    }
    if label.confidence is not None:
        record["custom"] = {"confidence": label.confidence}
    return record


def write_kaldi(label: WrittenLabel) -> str:
    """`id words`."""
    if any(c.isspace() for c in label.id) or label.id.startswith("\ufeff"):
        raise UserError(
            f"id '{label.id}' has a space, which parts id and words in Kaldi's files",
            "export another format, or name the recordings without",
        )
    return f"{label.id} {label.text}".rstrip(" ") + "\n"


def write_kaldi_confidence(label: WrittenLabel) -> str:
    """`id number`; nothing where there is none."""
    return "" if label.confidence is None else f"{label.id} {label.confidence!r}\n"


def _write_tsv(label: WrittenLabel) -> str:
    if re.search(r"[\t\r\n]", label.id) or label.id.strip() != label.id:
        raise UserError(
            f"id {label.id!r} has a TAB, a line break, or a space at an end, which a TSV file cannot hold",
            "export another format, or name the recordings without",
        )
    confidence = "" if label.confidence is None else repr(label.confidence)
    return f"{label.id}\t{label.text}\t{confidence}\n"


TSV_HEADING = "id\ttext\tconfidence\n"
WRITERS: dict[str, Callable[[WrittenLabel], str]] = {
    "asr": _write_asr,
    "nemo": _write_nemo,
    "kaldi": write_kaldi,
    "tsv": _write_tsv,
}
"""The line of a label. They raise UserError for what a format cannot hold."""


def check_writable(label: WrittenLabel) -> None:
    """Raises UserError for what no format can hold."""
    if not label.id:
        raise UserError("an utterance has an empty id", "name it")
    if label.confidence is not None and not math.isfinite(label.confidence):
        raise UserError(f"utterance '{label.id}': confidence {label.confidence}", "leave it out")
    try:
        (label.id + label.text).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"utterance {label.id!r}: not Unicode text ({error.reason})", "fix its id or its text"
        ) from None
