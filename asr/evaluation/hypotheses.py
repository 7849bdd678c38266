"""The hypotheses files that `asr decode` writes: RUN/decode/SET/MODEL.jsonl, a line an utterance."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.evaluation.transcript_lines import LineError, json_record, length_seconds
from asr.utils.hashes import file_sha256
from asr.utils.text_files import refuse_pipe

ZERO_SHOT = "zero_shot"
"""What a pretrained model writes before it is trained here."""
MODELS = (ZERO_SHOT, "supervised", "supervised_student", "student", "teacher")


@dataclass(frozen=True)
class Utterance:
    """One line of a hypotheses file."""

    id: str
    reference: str
    hypothesis: str
    seconds: float
    speaker: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """All fields of the line, for breakdowns."""


def read_hypotheses(path: Path) -> list[Utterance]:
    """Read what `asr decode` wrote. Raises UserError with file, line and remedy."""
    try:
        refuse_pipe(path)
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")  # tolerates a byte order mark
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file", "`asr decode` writes RUN/decode/SET/MODEL.jsonl"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not readable as UTF-8 text ({error})", "decode the set again"
        ) from None
    utterances: list[Utterance] = []
    first_line: dict[str, int] = {}
    # Not splitlines(): a transcript may hold U+2028, which is no end of line in JSON.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            utterance = _parse(line)
            if utterance.id in first_line:
                raise ValueError(
                    f"id '{utterance.id}' was already on line {first_line[utterance.id]}"
                )
        except ValueError as fault:
            raise UserError(
                f"{path}, line {number}: {fault}",
                "write one JSON object a line with id, reference, "
                "hypothesis (text) and seconds (a number), or decode the set again",
            ) from None
        first_line[utterance.id] = number
        utterances.append(utterance)
    if not utterances:
        raise UserError(f"{path}: no utterance in it", "decode the set again")
    return utterances


def _parse(line: str) -> Utterance:
    try:
        record = json_record(line)
    except LineError as error:
        raise ValueError(error.what) from None
    for name in ("id", "reference", "hypothesis"):
        if not isinstance(record.get(name), str):
            raise ValueError(f"'{name}' is not text ({json.dumps(record.get(name))[:40]})")
    seconds = length_seconds(record.get("seconds"))
    if seconds is None:
        raise ValueError(f"'seconds' is not a length ({str(record.get('seconds'))[:40]})")
    return utterance_of(record)


def utterance_of(record: Mapping[str, Any]) -> Utterance:
    """A record of `asr decode` as an Utterance."""
    speaker = record.get("speaker")
    return Utterance(
        record["id"],
        record["reference"],
        record["hypothesis"],
        float(record["seconds"]),
        None if speaker is None else str(speaker),
        record,
    )


def bound(stamp: Mapping[str, Any], hypotheses: Path) -> dict[str, Any]:
    """What made a file of hypotheses, as a stamp of that very content, and of no later one."""
    return {**stamp, "hypotheses_sha256": file_sha256(hypotheses)}


def is_stamp_of(hypotheses: Path, stamp: Mapping[str, Any]) -> bool:
    """Whether a stamp is of what is in the file now; older stamps do not say."""
    noted = stamp.get("hypotheses_sha256")
    return noted is None or not hypotheses.is_file() or noted == file_sha256(hypotheses)


def headline_model(models: Mapping[str, object]) -> str | None:
    """Whose metrics stand for a run: its teacher's, or those of the next best that was decoded."""
    own = [name for name in (*reversed(MODELS), *models) if name != ZERO_SHOT]
    return next((name for name in (*own, ZERO_SHOT) if name in models), None)


def read_decoded(run: Path) -> dict[str, dict[str, list[Utterance]]]:
    """All of RUN/decode/SET/MODEL.jsonl, known models first; empty where nothing was decoded."""
    decoded: dict[str, dict[str, list[Utterance]]] = {}
    for folder in sorted(path for path in (run / "decode").glob("*") if path.is_dir()):
        paths = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
        names = [*(m for m in MODELS if m in paths), *(m for m in paths if m not in MODELS)]
        if names:
            decoded[folder.name] = {name: read_hypotheses(paths[name]) for name in names}
    return decoded
