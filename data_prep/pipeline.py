"""From a corpus's own listing to validated manifests: the part that all corpora share.

Restartable and atomic. Results of decoding are journalled, so an interrupted run continues where it
stopped. What an earlier preparation left of the same sets is removed before work begins: nothing in
OUT looks complete that is not. Other sets in OUT are left alone (see contents.py).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import soundfile
from tqdm import tqdm

from asr.errors import UserError
from asr.utils.files import replacing

from . import contents, journal, manifests
from .contents import Preparation
from .journal import Outcome
from .manifests import Kept, Listing, Part, Reject, Source, Utterance
from .validate import SAMPLE_RATE_HZ, Fault, check_audio, check_id, check_text

MIN_ITEMS_FOR_SHARE = 20
"""In a smaller corpus a few bad files are a large share; it is then not judged by its share."""

NO_SPEECH = "no_speech"
"""Reason of a recording that is sound, and holds no speech: it is left out, and no fault."""
_VERSION = 2
_FEWEST_FOR_PROCESSES = 500
_CHUNK = 16
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Settings:
    """How to prepare, as opposed to what."""

    output: Path
    jobs: int = 1
    max_reject_share: float = 0.10


class Look(Protocol):
    """Decodes a recording; what it converts goes below `output`."""

    def __call__(self, utterance: Utterance, output: Path) -> Outcome: ...


Checked = Callable[[list[Utterance], Settings], AbstractContextManager[Iterator[Outcome]]]
"""Looks at recordings: outcomes in their order, and shows how far it is."""


def prepare(
    corpus: str,
    sets: Collection[str],
    options: dict[str, Any],
    listing: Listing,
    settings: Settings,
    characters: str | None = None,
    cut: Checked | None = None,
) -> list[Kept]:
    """Validate all that is listed and write manifests, references, rejects and summary to OUT.

    `sets` names all that this call replaces, those without an utterance too; other sets in OUT stay.
    `options` are those that change the result; with the listing they make up the fingerprint by
    which a finished preparation is recognised. With `cut` an utterance of the listing is a recording of
    any length, of which parts become utterances. Returns what is kept, nothing where nothing was to do. Raises
    UserError when too much is rejected.
    """
    rules = {"characters": characters, "max_reject_share": settings.max_reject_share}
    options = {**options, **rules}
    fingerprint = _fingerprint(corpus, options, listing)
    with contents.opened_contents(settings.output, corpus) as there:
        finished = there.find(fingerprint)
        if finished is not None:
            print(
                f"{settings.output}: already prepared from the same input, nothing to do "
                f"(delete {finished.outputs[0]} there to prepare again)"
            )
            print(manifests.summary_table(there.sets))
            return []
        others = contents.clear(there, sets)
        cut_by = json.dumps(options, sort_keys=True) if cut is not None else ""
        kept, faults, left_out = _validate(listing, settings, characters, cut or checked, cut_by)
        rejects = [*listing.left_out, *left_out, *faults]
        contents.write_rejects(settings.output, sets, rejects)
        _judge(kept, faults, settings)
        counts = manifests.summarise(kept, rejects)
        preparation = Preparation(fingerprint, options, list(counts), [])
        whole = contents.publish(others, kept, preparation, counts)
    print(manifests.summary_table(whole.sets))
    if rejects:
        print(f"{len(rejects)} left out: see {settings.output / manifests.REJECTS}")
    return kept


def to_16khz_mono(source: Path, target: Path) -> int:
    """Average the channels, resample, write 16-bit FLAC atomically; returns samples at 16 kHz."""
    from asr.data.audio import read_audio  # imports torch

    mono = read_audio(source, SAMPLE_RATE_HZ).numpy()
    with replacing(target) as file:
        soundfile.write(file, mono, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return len(mono)


def _validate(
    listing: Listing, settings: Settings, characters: str | None, checked: Checked, rules: str
) -> tuple[list[Kept], list[Reject], list[Reject]]:
    """What is kept, what is at fault, and what is sound but of no use."""
    accepted, rejects = _screen(listing, characters)
    kept, left_out = list[Kept](), list[Reject]()
    for utterance, outcome in _check_all(accepted, settings, checked, rules):
        if outcome.reason:
            reject = Reject.of(utterance, Fault(outcome.reason, outcome.detail))
            (left_out if outcome.reason == NO_SPEECH else rejects).append(reject)
        elif outcome.parts is not None:
            kept += _parts_of(utterance, outcome)
        else:
            path = Path(outcome.path)
            kept.append(Kept(utterance, path, outcome.samples, outcome.converted))
    return kept, rejects, left_out


def _parts_of(recording: Utterance, outcome: Outcome) -> Iterator[Kept]:
    """Utterances that are parts of a recording; an id says where one is, in hundredths of a second."""
    source = Source(**(outcome.source or {}))
    for first, count, *place in outcome.parts or ():
        begin, end = (round(100 * at / SAMPLE_RATE_HZ) for at in (first, first + count))
        part = Part(source, first, tuple(place) or None)
        utterance = replace(recording, id=f"{recording.id}-{begin:07d}-{end:07d}")
        yield Kept(utterance, Path(outcome.path), count, False, part)


def _screen(listing: Listing, characters: str | None) -> tuple[list[Utterance], list[Reject]]:
    """Set aside what is at fault before any audio is read."""
    accepted: dict[str, Utterance] = {}
    rejects = list(listing.rejects)
    for utterance in listing.utterances:
        fault = check_id(utterance.id)
        text = utterance.text if utterance.text is not None else utterance.reference
        if fault is None and text is not None:
            fault = check_text(text, characters)
        if fault is None and utterance.id in accepted:
            fault = Fault("duplicate_id", f"the id belongs to {accepted[utterance.id].path}")
        if fault is None:
            accepted[utterance.id] = utterance
        else:
            rejects.append(Reject.of(utterance, fault))
    return list(accepted.values()), rejects


def _check_all(
    utterances: list[Utterance], settings: Settings, checked: Checked, rules: str
) -> Iterator[tuple[Utterance, Outcome]]:
    """Outcomes in the order of the listing; journalled as they come, so that a stopped call continues."""
    path = settings.output / contents.STAGING / journal.JOURNAL
    keys = [journal.identity(utterance, rules) for utterance in utterances]
    known = journal.read(path)
    if known:  # Of this preparation, or of another that was stopped.
        listed = set(keys)
        known = {key: outcome for key, outcome in known.items() if key in listed}
    if known:
        print(f"continuing an interrupted preparation: {len(known)} recordings already checked")
    todo = [u for u, key in zip(utterances, keys, strict=True) if key not in known]
    with path.open("a", encoding="utf-8") as file, checked(todo, settings) as outcomes:
        for utterance, key in zip(utterances, keys, strict=True):
            if key in known:
                yield utterance, known[key]
                continue
            outcome = next(outcomes)
            # A fault is looked at again next time: its cause may lie outside the file.
            if not outcome.reason or outcome.reason == NO_SPEECH:
                journal.append(file, key, outcome)
            yield utterance, outcome


@contextmanager
def checked(
    utterances: list[Utterance],
    settings: Settings,
    one: Look | None = None,
) -> Iterator[Iterator[Outcome]]:
    """Outcomes in order, from as many processes as `settings.jobs`; of a few utterances, from threads."""
    work = partial(one or check_one, output=settings.output)
    jobs = max(1, settings.jobs)
    pool: Executor
    started = time.perf_counter()
    if len(utterances) < _FEWEST_FOR_PROCESSES or jobs == 1:
        pool = ThreadPoolExecutor(jobs)  # libsndfile holds no lock
    else:
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=die_with_parent)
    try:
        outcomes = pool.map(work, utterances, chunksize=_CHUNK)
        yield iter(tqdm(outcomes, "checking audio", len(utterances), unit="file", disable=None))
    finally:
        pool.shutdown(cancel_futures=True)
    if utterances:
        seconds = time.perf_counter() - started
        print(
            f"checked {len(utterances):,} recordings in {seconds:.1f} s: "
            f"{len(utterances) / seconds:,.0f} a second, {jobs} at a time"
        )


def die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever. Linux alone can say so."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def check_one(utterance: Utterance, output: Path) -> Outcome:
    """Decode a recording, and convert it where training could not read it."""
    check = check_audio(utterance.path)
    if check.fault is not None:
        return Outcome(reason=check.fault.reason, detail=check.fault.detail)
    if not check.needs_conversion:
        return Outcome(os.path.abspath(utterance.path), check.samples)
    target = _converted_path(utterance, output)
    samples = to_16khz_mono(utterance.path, target)
    if samples == 0:
        return Outcome(reason="empty", detail="the file holds less than one 16 kHz sample")
    return Outcome(os.path.abspath(target), samples, converted=True)


def _converted_path(utterance: Utterance, output: Path) -> Path:
    """A place that no other recording has: neither of another set, nor of another root."""
    source = os.path.abspath(utterance.path).encode("utf-8", "surrogateescape")
    mark = hashlib.sha256(source).hexdigest()[:8]
    return output / "audio" / utterance.set / f"{utterance.id}.{mark}.flac"


def _fingerprint(corpus: str, options: dict[str, Any], listing: Listing) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, corpus, options], sort_keys=True).encode())
    for utterance in listing.utterances:
        fields = [utterance.text, utterance.reference, utterance.speaker]
        # Only where there is one: corpora without are recognised as they were.
        fields += [] if utterance.written is None else [utterance.written]
        digest.update(json.dumps([journal.identity(utterance), *fields]).encode())
    for reject in (*listing.rejects, *listing.left_out):
        digest.update(json.dumps(asdict(reject)).encode())
    return digest.hexdigest()


def _judge(kept: list[Kept], rejects: list[Reject], settings: Settings) -> None:
    # A recording that is cut is one entry, however many its parts.
    recordings = {(one.utterance.set, one.path) for one in kept if one.part is not None}
    sound = len(recordings) + sum(one.part is None for one in kept)
    total = sound + len(rejects)
    where = f"see {settings.output / manifests.REJECTS}"
    if not kept:
        raise UserError(
            f"nothing is usable: all {total} entries were rejected",
            f"{where} for the reasons, and fix the most frequent one",
        )
    share = len(rejects) / total
    if total >= MIN_ITEMS_FOR_SHARE and share > settings.max_reject_share:
        raise UserError(
            f"{len(rejects)} of {total} entries ({share:.0%}) were rejected, more than "
            f"--max-reject-share {settings.max_reject_share:g}; {where}",
            "fix them or raise it",
        )
