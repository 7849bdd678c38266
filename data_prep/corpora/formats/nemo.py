"""NeMo's manifests: a JSON object a line, with audio_filepath, text, duration and perhaps offset."""

from __future__ import annotations

import json
import math
import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.utils.text_files import json_of, lines_of, read_text

from ...manifests import Span, Utterance
from ...pipeline import Settings
from .listing import Found, first_known, located, prepare_found, set_names, with_short_ids
from .tables import clean_text

_IDS = ("id", "utt_id")
_LANGUAGES = ("language", "lang", "source_lang")
_SPEAKERS = ("speaker", "speaker_id")
_TAKEN = {"audio_filepath", "duration", "offset", "text", "gender", *_IDS, *_LANGUAGES, *_SPEAKERS}


def prepare_nemo(
    manifest: Path,
    settings: Settings,
    set_name: str | None = None,
    reject_overlapping: bool = False,
) -> None:
    """Prepare a manifest. Raises UserError where it cannot be read."""
    sets = set_names(set_name)
    prepare_found(list_nemo(manifest, sets), manifest, sets, settings, reject_overlapping)


def list_nemo(manifest: Path, sets: tuple[str, str]) -> Found:
    """Utterances of a manifest: those with text are of the first set, others of the second."""
    if manifest.is_dir():
        raise UserError(f"{manifest}: is a folder", "name the manifest, a file of JSON lines")
    found, named, unnamed = Found(), dict[int, Utterance](), dict[int, Utterance]()
    for number, line in enumerate(lines_of(read_text(manifest)), start=1):
        if not line.strip():
            continue
        place = f"{manifest}:{number}"
        try:
            record = json_of(line)
            utterance = _utterance(record, manifest, sets)
        except (ValueError, TypeError, OverflowError) as error:
            name = _name_of(line)
            found.reject(name, manifest, sets[0], "malformed_line", f"{place}: {error}")
            continue
        if not os.path.isfile(utterance.path) and "shard_id" in record:
            detail = (
                f"{place}: lies in a tar ({utterance.path}): unpack the tars beside the manifest"
            )
            found.reject(str(utterance.path), manifest, sets[0], "shard", detail)
        else:
            (named if utterance.id else unnamed)[number] = utterance
    short = with_short_ids(list(unnamed.values()))
    named.update(zip(unnamed, short, strict=True))
    found.utterances = [named[number] for number in sorted(named)]
    return found


def _utterance(record: Any, manifest: Path, sets: tuple[str, str]) -> Utterance:
    """Raises ValueError for what is no utterance."""
    if not isinstance(record, dict):
        raise ValueError("expected a JSON object")
    place = record.get("audio_filepath")
    if not isinstance(place, str) or not place:
        kind = "a list of files" if isinstance(place, list) else "no path"
        raise ValueError(f"audio_filepath is {kind} ({json.dumps(place)})")
    text = record.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"text is {json.dumps(text)} and no string")
    path = located(place, manifest.parent)
    name = first_known(record, _IDS)
    return Utterance(
        name or "",
        path,
        sets[0] if text is not None else sets[1],
        text=None if text is None else clean_text(text),
        speaker=first_known(record, _SPEAKERS),
        language=first_known(record, _LANGUAGES),
        gender=first_known(record, ("gender",)),
        custom={key: value for key, value in record.items() if key not in _TAKEN},
        span=_span(record, path),
    )


def _span(record: Mapping[str, Any], path: Path) -> Span | None:
    times = list[float | None]()
    for name in ("offset", "duration"):
        value = record.get(name)
        if value is None:
            times.append(None)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} is {json.dumps(value)} and no number of seconds")
        elif not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}: expected seconds")
        else:
            times.append(float(value))
    offset, duration = times
    if offset is None and duration is None:
        return None
    return Span(path.stem, offset or 0.0, duration)


def _name_of(line: str) -> str:
    """Of a line at fault: whatever names it."""
    try:
        record = json_of(line)
    except ValueError:
        return line[:40]
    record = record if isinstance(record, dict) else {}
    return first_known(record, (*_IDS, "audio_filepath")) or line[:40]
