"""Manifests that Lhotse wrote: recordings with supervisions, or cuts. An utterance is a supervision.

They are read line by line and not by Lhotse, which stops at the first one that is at fault, and would run
what a manifest from a stranger names (see asr/data/manifest/admission.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.data.manifest.admission import FILES, admit
from asr.errors import UserError
from asr.utils.text_files import json_of, lines_of, read_text

from ...manifests import Span, Utterance
from ...pipeline import Settings
from .listing import Found, located, prepare_found, set_names
from .tables import clean_text

Record = Mapping[str, Any]
_CUTS = ("MonoCut", "Cut", "MultiCut")
_OPTIONS = {"recordings": "--recordings", "supervisions": "--supervisions", "cuts": "--cuts"}


def prepare_manifests(
    settings: Settings,
    recordings: Path | None = None,
    supervisions: Path | None = None,
    cuts: Path | None = None,
    set_name: str | None = None,
    reject_overlapping: bool = False,
) -> None:
    """Prepare manifests of one set. Raises UserError for those that cannot be read, or do not go together."""
    sets = set_names(set_name)
    if cuts is not None and (recordings is not None or supervisions is not None):
        raise UserError("--cuts hold their recordings and supervisions", "leave the others out")
    if cuts is None and recordings is None:
        raise UserError(
            "no --cuts and no --recordings given", "name what Lhotse wrote, or one of its recipes"
        )
    source = cuts if cuts is not None else recordings
    assert source is not None
    found = Found()
    add_cuts(found, source, sets) if cuts else add_recordings(found, source, supervisions, sets)
    prepare_found(found, source, sets, settings, reject_overlapping)


def add_recordings(
    found: Found, recordings: Path, supervisions: Path | None, sets: tuple[str, str]
) -> None:
    """Utterances of supervisions, and the recordings of which there is none, as a whole."""
    listed = _Listed(found, sets, recordings.parent)
    by_id: dict[str, Record] = {}
    for place, record in _records(recordings, "recordings", found, sets[0]):
        name = str(record["id"])
        if name in by_id:
            detail = f"{place}: recording '{name}' is there already"
            found.reject(name, recordings, sets[0], "duplicate_id", detail)
        else:
            by_id[name] = record
    said = set()
    if supervisions is not None:
        for place, record in _records(supervisions, "supervisions", found, sets[0]):
            recording, name = by_id.get(str(record.get("recording_id"))), str(record["id"])
            if recording is None:
                detail = (
                    f"{place}: of recording '{record.get('recording_id')}', not in {recordings}"
                )
                found.reject(name, supervisions, sets[0], "missing_recording", detail)
                continue
            said.add(str(recording["id"]))
            listed.add(place, name, recording, record)
        strangers = [one for one in found.rejects if one.reason == "missing_recording"]
        if strangers and not said:
            raise UserError(
                f"--supervisions {supervisions}: none is of a recording in {recordings}; the first, "
                f"{strangers[0].detail}",
                "name the supervisions of these recordings, or leave them out for speech without transcripts",
            )
    for name, recording in by_id.items():
        if name not in said:
            listed.add(str(recordings), name, recording, None)


def add_cuts(found: Found, cuts: Path, sets: tuple[str, str]) -> None:
    """Utterances of the supervisions of cuts, and the cuts without any."""
    listed = _Listed(found, sets, cuts.parent)
    for place, cut in _records(cuts, "cuts", found, sets[0]):
        name, kind = str(cut["id"]), cut.get("type", "MonoCut")
        if kind not in _CUTS or not isinstance(cut.get("recording"), dict):
            what = "has no recording" if kind in _CUTS else f"is a {kind}"
            detail = f"{place}: cut '{name}' {what}: save its audio first (CutSet.save_audios)"
            found.reject(name, cuts, sets[0], "no_recording", detail)
            continue
        listing = cut.get("supervisions") or []
        if not isinstance(listing, list):
            detail = (
                f"{place}: cut '{name}': supervisions are {json.dumps(listing)[:60]} and no list"
            )
            found.reject(name, cuts, sets[0], "malformed_line", detail)
            continue
        supervisions = [one for one in listing if isinstance(one, dict)]
        start = cut.get("start") or 0.0
        if any(one.get("text") is not None for one in supervisions):
            for one in supervisions:
                listed.add(place, str(one.get("id")), cut["recording"], one, start)
            continue
        known = supervisions[0] if len(supervisions) == 1 else {}
        whole = {
            "channel": cut.get("channel"),
            **known,
            "start": 0.0,
            "duration": cut.get("duration"),
        }
        listed.add(place, str(known.get("id", name)), cut["recording"], whole, start)


@dataclass(frozen=True)
class _Listed:
    """Takes one utterance after the other."""

    found: Found
    sets: tuple[str, str]
    home: Path
    """Folder of the recordings' manifest."""

    def add(
        self,
        place: str,
        name: str,
        recording: Record,
        supervision: Record | None,
        start: float = 0.0,
    ) -> None:
        """An utterance, or a reject; `start` of its cut in the recording, in seconds."""
        said = supervision or {}
        text = said.get("text")
        try:
            if text is not None and not isinstance(text, str):
                raise ValueError(f"text is {json.dumps(text)} and no string")
            path, span = _placed(recording, supervision, start)
        except UserError as error:
            detail = f"{place}: recording '{recording.get('id')}': {error.what}; {error.remedy}"
            self.found.reject(name, place, self.sets[0], "not_a_file", detail)
            return
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            detail = f"{place}: {type(error).__name__}: {error}"
            self.found.reject(name, place, self.sets[0], "malformed_line", detail)
            return
        custom = said.get("custom")
        self.found.utterances.append(
            Utterance(
                name,
                located(path, self.home),
                self.sets[0] if text is not None else self.sets[1],
                text=None if text is None else clean_text(text),
                speaker=_text(said.get("speaker")),
                language=_text(said.get("language")),
                gender=_text(said.get("gender")),
                custom=custom if isinstance(custom, dict) else {},
                span=span,
            )
        )


def _placed(recording: Record, supervision: Record | None, start: float) -> tuple[str, Span]:
    """Path and part of it. Raises ValueError or the like for what is none, and UserError for no file."""
    admit({"id": recording.get("id"), "recording": recording}, FILES)
    if recording.get("transforms"):
        names = [
            str(one.get("name") if isinstance(one, dict) else one)
            for one in recording["transforms"]
        ]
        raise UserError(
            f"its audio is changed when it is loaded ({', '.join(names)})",
            "take the manifest from before, or save the audio first (CutSet.save_audios)",
        )
    sources = recording["sources"]
    asked = (supervision or {}).get("channel")
    channels = [asked] if isinstance(asked, int) else list(asked or [])
    source = next((one for one in sources if set(channels) & set(one["channels"])), None)
    if source is None:
        if channels and len(sources) + len(sources[0]["channels"]) > 2:
            there = [channel for one in sources for channel in one["channels"]]
            raise ValueError(f"channel {asked}: recording '{recording['id']}' has {there}")
        source = sources[0]
    # All of a file's channels are mixed down, and one of several files of an array is taken.
    inside = list(source["channels"])
    is_one = len(channels) == 1 and len(inside) > 1
    channel = inside.index(channels[0]) if is_one else None
    begin, seconds = start, None
    if supervision is not None:
        begin, seconds = start + float(supervision["start"]), float(supervision["duration"])
        if not 0 <= begin < math.inf or not 0 < seconds < math.inf:
            raise ValueError(f"start {begin:g} s and duration {seconds:g} s are no times")
    name = str(recording["id"]) + (f"-{channel}" if channel is not None else "")
    return str(source["source"]), Span(name, begin, seconds, channel)


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _records(
    path: Path, kind: str, found: Found, set_name: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and record of each line; lines at fault are rejects. Raises UserError for another kind of file."""
    option = _OPTIONS[kind]
    if path.is_dir():
        raise UserError(
            f"{option} {path}: is a folder",
            "name a manifest; a recipe takes a folder of Lhotse's shards as it is, called NAME.shar",
        )
    if path.suffix in (".yaml", ".yml"):
        raise UserError(
            f"{option} {path}: is YAML", f"lhotse copy {path} {path.with_suffix('.jsonl.gz')}"
        )
    text = read_text(path, option)
    checked = False
    for place, line in _pieces(path, text):
        try:
            record = line if isinstance(line, dict) else json_of(line)
            if not isinstance(record, dict):
                raise ValueError("expected a JSON object")
        except ValueError as error:
            found.reject(str(line)[:40], path, set_name, "malformed_line", f"{place}: {error}")
            continue
        if not checked:
            _check_kind(path, kind, record)
            checked = True
        if not record.get("id"):
            detail = f"{place}: has no id, as {kind} have"
            found.reject(str(line)[:40], path, set_name, "malformed_line", detail)
            continue
        yield place, record


def _pieces(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    if text.lstrip().startswith("["):
        try:
            whole = json_of(text)
        except ValueError as error:
            raise UserError(f"{path}: no JSON ({error})", "copy or export it again") from None
        yield from ((f"{path}:{number}", one) for number, one in enumerate(whole, start=1))
        return
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            yield f"{path}:{number}", line


def _check_kind(path: Path, kind: str, record: Record) -> None:
    is_kind = {
        "recordings": "sources" in record,
        "supervisions": "recording_id" in record and "sources" not in record,
        "cuts": "supervisions" in record or "recording" in record or "type" in record,
    }
    if is_kind[kind]:
        return
    other = next((name for name, fits in is_kind.items() if fits), None)
    remedy = f"give it to {_OPTIONS[other]}" if other else f"name a manifest of {kind}"
    if "audio_filepath" in record:
        other, remedy = "NeMo's lines", f"asr prepare nemo {path}"
    raise UserError(
        f"{_OPTIONS[kind]} {path}: holds {other or 'no records of Lhotse'} and not {kind} "
        f"(the first has {', '.join(list(record)[:6])})",
        remedy,
    )
