"""What all formats share: utterances that are parts of recordings, and to whom a set in OUT belongs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from asr.config.schema import CorpusConfig
from asr.errors import UserError

from ...contents import Contents, opened_contents
from ...manifests import Kept, Listing, Reject, Utterance
from ...pipeline import Checked, Settings, checked, prepare
from ...validate import SAMPLE_RATE_HZ, Fault, check_id

CORPUS = "folder"
"""What summary.json calls a folder's and a format's sets: they may stand in one OUT."""
_OVERLAP_SECONDS = 0.05


@dataclass
class Found:
    """What a format's files say: utterances in their order, and what is wrong with others."""

    utterances: list[Utterance] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    root: Path | None = None
    """A folder of which every recording is an entry: one that `asr prepare segment` takes, too."""
    left_out: list[Reject] = field(default_factory=list)
    """What is no fault."""

    def reject(self, name: str, path: Path | str, set_name: str, reason: str, detail: str) -> None:
        """Leave something out."""
        self.rejects.append(Reject(name, str(path), set_name, reason, detail))


def set_names(name: str | None) -> tuple[str, str]:
    """The set with transcripts and the one without. Raises UserError for what names no file."""
    if name is not None and ("/" in name or check_id(name) is not None):
        raise UserError(f"--set-name {name!r}: a name becomes a file", "use letters and digits")
    return (name or "labelled", f"{name}-untranscribed" if name else "untranscribed")


def claim(there: Contents, sets: Collection[str], source: Path, found: Iterable[str]) -> list[str]:
    """Of `sets`, those that are found, and those that an earlier call made of the same source.

    Raises UserError where one is there of another source.
    """
    listed, mine = set(found), []
    for name in sets:
        owner = (there.options_of(name) or {}).get("root")
        same = owner is not None and Path(owner).resolve() == source.resolve()
        if name in listed and owner is not None and not same:
            raise UserError(
                f"{there.output} holds the set '{name}' of {owner} already, so that of "
                f"{os.path.abspath(source)} needs another name",
                "add --set-name NAME, or give another --output",
            )
        if name in listed or same:
            mine.append(name)
    return mine


def prepare_found(
    found: Found,
    source: Path,
    sets: Collection[str],
    settings: Settings,
    reject_overlapping: bool = False,
    vad: str | None = None,
) -> None:
    """Prepare what a format lists; `sets` are all that may be in it.

    With `vad`, what finds speech, recordings without a transcript and without any speech are left out. Raises
    UserError as `prepare` does.
    """
    listing = without_overlaps(found, reject_overlapping)
    for note in found.notes:
        print(f"note: {note}")
    names = {one.set for one in listing.utterances}
    names |= {one.set for one in [*listing.rejects, *listing.left_out]}
    options: dict[str, Any] = {"root": os.path.abspath(source), "sets": list(sets)}
    with opened_contents(settings.output, CORPUS) as there:
        mine = claim(there, sets, source, names)
    cut: Checked | None = None
    if vad is not None:
        from ...segmentation.voice_activity import check_speech, chosen  # imports torch

        options["without_speech_by"] = chosen(vad)
        cut = partial(checked, one=partial(check_speech, vad=vad))
    kept = prepare(CORPUS, mine, options, listing, settings, cut=cut)
    for note in _about_long_ones(kept, found.root, settings.output):
        print(f"note: {note}")


def _about_long_ones(kept: list[Kept], root: Path | None, output: Path) -> Iterable[str]:
    most = CorpusConfig().max_seconds
    seconds = [one.samples / SAMPLE_RATE_HZ for one in kept]
    long = [one for one in seconds if one > most]
    if long:
        note = (
            f"{len(long):,} of {len(seconds):,} utterances are longer than a recipe takes "
            f"(corpus.max_seconds, {most:g} unless it says otherwise), the longest {max(long) / 60:.1f} "
            "minutes; training leaves them out"
        )
        if root is not None:
            where = f"--root {root} --output {output}"
            if any(
                one.utterance.text is not None and one.samples > most * SAMPLE_RATE_HZ
                for one in kept
            ):
                note += (
                    ". What has its whole text beside it (.txt, .srt, .vtt) is cut where the text agrees "
                    f"by `asr prepare align --model RUN {where}`"
                )
            note += (
                f". What has no transcript is cut where speech is by `asr prepare segment {where}`"
            )
        yield note


def without_overlaps(found: Found, reject: bool) -> Listing:
    """A listing; what is heard at the same time as another utterance is noted, or left out."""
    overlapping = _overlapping(found.utterances)
    if not overlapping:
        return Listing(found.utterances, found.rejects, found.left_out)
    if not reject:
        found.notes.append(
            f"{len(overlapping)} of {len(found.utterances)} utterances overlap others in time, the first "
            f"'{found.utterances[min(overlapping)].id}': more than their own text is heard in them "
            "(--reject-overlapping leaves them out)"
        )
        return Listing(found.utterances, found.rejects, found.left_out)
    left_out = [
        Reject.of(
            found.utterances[place],
            Fault("overlapping", f"at the same time as '{found.utterances[other].id}'"),
        )
        for place, other in overlapping.items()
    ]
    kept = [one for place, one in enumerate(found.utterances) if place not in overlapping]
    return Listing(kept, found.rejects, [*found.left_out, *left_out])


def _overlapping(utterances: list[Utterance]) -> dict[int, int]:
    """Places of those that overlap another one of their recording, each with the place of such a one."""
    by_recording: dict[tuple[Path, int | None], list[tuple[float, float, int]]] = {}
    for place, one in enumerate(utterances):
        if one.span is not None and one.span.seconds is not None:
            key = one.path, one.span.channel
            begin = one.span.start_seconds
            by_recording.setdefault(key, []).append((begin, begin + one.span.seconds, place))
    found: dict[int, int] = {}
    for spans in by_recording.values():
        spans.sort()
        last_end, last = spans[0][1], spans[0][2]
        for begin, end, place in spans[1:]:
            if begin < last_end - _OVERLAP_SECONDS:
                found[place] = last
                found.setdefault(last, place)
            if end > last_end:
                last_end, last = end, place
    return found


def first_known(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Of the fields of these names the first that says anything."""
    values = (record.get(name) for name in names)
    return next((str(value) for value in values if value not in (None, "")), None)


def located(path: str, beside: Path) -> Path:
    """A recording's path as a file names it: of this working directory, or of the file's own folder."""
    here = Path(path)
    with suppress(RuntimeError):  # of a user that is not known
        here = here.expanduser()
    if here.is_absolute() or os.path.isfile(here):  # unlike Path's, it says no of what is no path
        return here
    there = beside / here
    return there if os.path.isfile(there) else here


def with_short_ids(utterances: list[Utterance]) -> list[Utterance]:
    """Ids that a format does not have, from paths: the file's name, or the path where names are not enough.

    With the time where a file has several utterances.
    """
    stems = {one.path.stem for one in utterances}
    paths = {one.path for one in utterances}
    whole = {path: Path(os.path.abspath(path)) for path in paths}
    root = os.path.commonpath([path.parent for path in whole.values()]) if paths else ""
    is_enough = len(stems) == len(paths)
    named = []
    counts: dict[Path, int] = {}
    for one in utterances:
        counts[one.path] = counts.get(one.path, 0) + 1
    for one in utterances:
        path = one.path
        name = path.stem if is_enough else whole[path].relative_to(root).with_suffix("").as_posix()
        if counts[path] > 1 and one.span is not None:
            name += f"-{round(one.span.start_seconds * 1000):07d}"
        named.append(replace(one, id=name))
    return named
