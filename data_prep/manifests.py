"""Files of a prepared corpus: Lhotse manifests, references, rejects, summary.

OUT/<set>.jsonl.gz          Lhotse cuts, one utterance each
OUT/references/<set>.tsv    id TAB text, of sets whose manifest withholds the transcripts; where these have a
                            cased, punctuated form as well, it is in <set>.written.tsv
OUT/rejects.jsonl           what was left out, and why
OUT/summary.json            counts, and the preparations that are finished; written last
OUT/audio/<set>/<id>.*.flac recordings that had to be converted to mono 16 kHz
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import UserError
from asr.utils.files import replacing, replacing_gzip

from .validate import SAMPLE_RATE_HZ, Fault

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut, Recording

SUMMARY = "summary.json"
REJECTS = "rejects.jsonl"
WRITTEN = "text_written"
"""Custom field of a supervision: its text as people write it, where a corpus has that too."""


@dataclass(frozen=True)
class Span:
    """A part of a recording, in seconds of it."""

    recording: str
    """Id of the recording, which names it where several utterances are in it."""
    start_seconds: float = 0.0
    seconds: float | None = None
    """None: to its end."""
    channel: int | None = None
    """None: all channels, mixed down."""


@dataclass(frozen=True)
class Utterance:
    """A recording, or a part of one, as a corpus lists it, before validation.

    `text` goes into the manifest; `reference` is a transcript that training must not see. `written` is
    either in its cased and punctuated form, where a corpus has two: it goes into the manifest as the
    supervision's custom `text_written`, or to references/SET.written.tsv.
    """

    id: str
    path: Path
    set: str
    text: str | None = None
    reference: str | None = None
    speaker: str | None = None
    language: str | None = None
    written: str | None = None
    gender: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else a corpus says of it: custom fields of the supervision."""
    span: Span | None = None
    """None: the whole recording."""


@dataclass(frozen=True)
class Reject:
    """Something that was left out; one line of rejects.jsonl."""

    id: str
    path: str
    set: str
    reason: str
    detail: str

    @classmethod
    def of(cls, utterance: Utterance, fault: Fault) -> Reject:
        """The reject of an utterance with a fault."""
        path = os.path.abspath(utterance.path)
        return cls(utterance.id, path, utterance.set, fault.reason, fault.detail)


@dataclass(frozen=True)
class Listing:
    """What a corpus holds according to its own files: utterances, and lines that led to none.

    `left_out` is listed and counted as the rejects are, but it is by the corpus's own rules and no fault,
    and so does not make the share of rejects too large.
    """

    utterances: list[Utterance]
    rejects: list[Reject] = field(default_factory=list)
    left_out: list[Reject] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A recording of which utterances are parts, as it is: nothing of it is copied."""

    rate_hz: int
    channels: int
    """Training hears their mean, each with its sign."""
    samples: int
    """Of a channel, at its own rate."""
    samples_16khz: int
    speech_seconds: float = 0.0
    """That was found."""
    signs: Sequence[int] = ()
    """Of the channels, where they are not all 1 (asr.data.sound.mixing)."""

    @classmethod
    def mono_16khz(cls, samples: int) -> Source:
        """Of a file as training reads it."""
        return cls(SAMPLE_RATE_HZ, 1, samples, samples)


@dataclass(frozen=True)
class Part:
    """Of a recording."""

    source: Source
    first: int
    """Sample at 16 kHz."""
    place: tuple[int, ...] | None = None
    """Of an MP3, what asr.data.mp3_frames.Place says of it."""


@dataclass(frozen=True)
class Kept:
    """A sound utterance: a mono 16 kHz file that training reads, or a part of one or of any recording."""

    utterance: Utterance
    path: Path
    samples: int
    """At 16 kHz."""
    converted: bool
    part: Part | None = None
    """None: the whole file."""
    gain: float = 1.0
    """With which it was converted."""

    @property
    def is_found(self) -> bool:
        """Whether it is a part that no corpus lists, of a recording that was cut where speech is."""
        return self.part is not None and self.utterance.span is None


def make_cut(kept: Kept) -> MonoCut:
    """The Lhotse cut of an utterance: its part of a recording, at most one supervision, absolute path."""
    from lhotse import MonoCut, SupervisionSegment

    utterance, duration = kept.utterance, kept.samples / SAMPLE_RATE_HZ
    recording, said = _recording_of(kept)
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=recording.id,
        start=0.0,
        duration=duration,
        channel=0,
        text=utterance.text,
        language=_storable(utterance.language),
        speaker=_storable(utterance.speaker),
        gender=_storable(utterance.gender),
    )
    custom = _storable(dict(utterance.custom))
    if utterance.text is not None and utterance.written is not None:
        custom[WRITTEN] = utterance.written
    supervision.custom = custom or None
    known = (utterance.text, utterance.speaker, utterance.language, utterance.gender)
    return MonoCut(
        id=utterance.id,
        start=kept.part.first / SAMPLE_RATE_HZ if kept.part is not None else 0.0,
        duration=duration,
        channel=0,
        supervisions=[supervision] if any(value is not None for value in known) or custom else [],
        recording=recording,
        custom=said,
    )


def _recording_of(kept: Kept) -> tuple[Recording, dict[str, Any] | None]:
    """What an utterance is cut from, and what a cut says of its part (asr/data/audio_parts.py)."""
    from lhotse import AudioSource, Recording

    path, part, span = os.path.abspath(kept.path), kept.part, kept.utterance.span
    own = part.source if part is not None else Source.mono_16khz(kept.samples)
    name = kept.utterance.id
    if kept.is_found:
        name = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    elif part is not None and span is not None:
        name = span.recording
    recording = Recording(
        id=name,
        sources=[AudioSource(type="file", channels=list(range(own.channels)), source=path)],
        sampling_rate=own.rate_hz,
        num_samples=own.samples,
        duration=own.samples / own.rate_hz,
    )
    if part is None or not kept.is_found:
        return recording, None
    from asr.data.audio_parts import CUSTOM  # imports torch

    if own.rate_hz != SAMPLE_RATE_HZ:
        recording = recording.resample(SAMPLE_RATE_HZ)
    said: dict[str, Any] = {"samples": own.samples, "mean_of_channels": list(own.signs) or True}
    if part.place is not None:
        said["mp3"] = list(part.place)
    return recording, {CUSTOM: said}


def write_cuts(path: Path, cuts: Iterable[MonoCut]) -> None:
    """Write a .jsonl.gz manifest atomically; equal cuts give equal bytes."""
    with replacing_gzip(path) as file:
        for cut in cuts:
            file.write(_json_line(cut.to_dict()))


def read_cuts(path: Path) -> CutSet:
    """The cuts of a manifest, in memory. Raises UserError when missing, damaged or without cuts."""
    from lhotse import CutSet

    if not path.is_file():
        raise UserError(
            f"{path}: no such manifest", "prepare the corpus first (asr prepare --help)"
        )
    try:
        cuts = CutSet.from_file(path)
        cuts = cuts.to_eager() if cuts is not None else None
    except Exception as error:  # gzip, zlib, json and Lhotse each have their own
        raise UserError(
            f"{path}: not a readable manifest of cuts ({error})", "run `asr prepare` again"
        ) from None
    if not isinstance(cuts, CutSet) or len(cuts) == 0:
        raise UserError(f"{path}: holds no cuts", "run `asr prepare` again")
    return cuts


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a .jsonl file of ours; none where there is no file, lines at fault left out."""
    records = []
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            records += [record] if isinstance(record, dict) else []
    return records


def write_references(path: Path, texts: Mapping[str, str]) -> None:
    """Write id TAB text lines atomically."""
    with replacing(path) as file:
        for name, text in texts.items():
            file.write(f"{name}\t{text}\n".encode())


def summarise(kept: list[Kept], rejects: list[Reject]) -> dict[str, dict[str, Any]]:
    """Counts by set: utterances, hours, characters and words of the transcripts, speakers, rejects.

    Characters include spaces. Withheld references are not counted.
    """
    names = dict.fromkeys([item.utterance.set for item in kept] + [item.set for item in rejects])
    return {name: _summarise_set(name, kept, rejects) for name in names}


def _summarise_set(name: str, kept: list[Kept], rejects: list[Reject]) -> dict[str, Any]:
    mine = [item for item in kept if item.utterance.set == name]
    texts = [item.utterance.text or "" for item in mine]
    quieter = sum(item.gain < 1.0 for item in mine)
    speakers = {item.utterance.speaker for item in mine} - {None}
    return {
        "utterances": len(mine),
        "hours": round(sum(item.samples for item in mine) / SAMPLE_RATE_HZ / 3600, 6),
        "characters": sum(map(len, texts)),
        "words": sum(len(text.split()) for text in texts),
        "speakers": len(speakers),
        "converted": sum(item.converted for item in mine),
        "rejects": dict(sorted(Counter(r.reason for r in rejects if r.set == name).items())),
        **({"made_quieter": quieter} if quieter else {}),
        **_of_recordings(mine),
    }


def _of_recordings(mine: list[Kept]) -> dict[str, Any]:
    """Of a set that is cut from long recordings, what the cuts leave out of them."""
    sources = {str(item.path): item.part.source for item in mine if item.part and item.is_found}
    if not sources:
        return {}
    hours = sum(one.samples / one.rate_hz for one in sources.values()) / 3600
    counts = {"recordings": len(sources), "recorded_hours": round(hours, 6)}
    if not any(item.utterance.custom for item in mine):  # else there is speech in other sets
        left_out = hours - sum(item.samples for item in mine) / SAMPLE_RATE_HZ / 3600
        counts["non_speech_hours"] = round(max(0.0, left_out), 6)
    return counts


def summary_table(sets: dict[str, dict[str, Any]]) -> str:
    """The counts as text for a terminal, one line a set."""
    width = max(map(len, [*sets, "set"]))
    columns = ["utterances", "hours", "characters", "words", "speakers", "converted"]
    lines = [f"{'set':{width}}" + "".join(f"{name:>12}" for name in columns) + "  rejects"]
    for name, counts in sets.items():
        shown = {**counts, "hours": f"{counts['hours']:.4f}"}
        rejects = ", ".join(f"{reason} {count}" for reason, count in counts["rejects"].items())
        cells = "".join(f"{shown[column]:>12}" for column in columns)
        lines.append(f"{name:{width}}{cells}  {rejects or '-'}")
    return "\n".join(lines)


def reject_record(reject: Reject) -> dict[str, str]:
    """A reject as a JSON object; names that are no valid text are shown with escapes."""
    return {key: encodable(value) for key, value in asdict(reject).items()}


def encodable(text: str) -> str:
    """With escapes for what is no valid text, as in the name of a file."""
    return text.encode("utf-8", "backslashreplace").decode()


def _storable(value: Any) -> Any:
    """What else a corpus says, as JSON can hold it: escapes for what is no text, null for no number."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {encodable(str(key)): _storable(one) for key, one in value.items()}
    return [_storable(one) for one in value] if isinstance(value, list | tuple) else value


def _json_line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
