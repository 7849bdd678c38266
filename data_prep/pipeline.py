"""From a corpus's own listing to validated manifests: the part that all corpora share.

Restartable and atomic. Results of decoding are journalled, so an interrupted run continues where it
stopped. What an earlier preparation left of the same sets is removed before work begins: nothing in
OUT looks complete that is not. Other sets in OUT are left alone (see contents.py).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from asr.errors import UserError
from asr.utils.orphans import end_with_parent

from . import contents, journal, manifests
from .contents import Preparation
from .journal import Outcome
from .manifests import Kept, Listing, Reject, Span, Utterance
from .recordings import check_one, found_parts, listed_part
from .text.characters import about_characters
from .text.rules import TextRules, written_down
from .validate import Fault, check_id, check_text

MIN_ITEMS_FOR_SHARE = 20
"""In a smaller corpus a few bad files are a large share; it is then not judged by its share."""

NO_SPEECH = "no_speech"
"""Reason of a recording that is sound, and holds no speech: it is left out, and no fault."""
_VERSION = 2
_FEWEST_FOR_PROCESSES = 500
_CHUNK = 16


@dataclass(frozen=True)
class Settings:
    """How to prepare, as opposed to what."""

    output: Path
    jobs: int = 1
    max_reject_share: float = 0.10
    text: TextRules = field(default_factory=TextRules)


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
    which a finished preparation is recognised. `characters` are those of the corpus as it is given: where
    `settings.text` changes transcripts, they are not asked for. With `cut` an utterance of the listing is a
    recording of any length, of which parts become utterances. Returns what is kept, nothing where nothing was
    to do. Raises UserError when too much is rejected.
    """
    if settings.text.characters is not None:
        characters = settings.text.characters
    rules = {"characters": characters, "max_reject_share": settings.max_reject_share}
    options = {**options, **rules}
    if not settings.text.is_idle:
        stamps, apply = settings.text.made()
        listing, characters = written_down(listing, apply), settings.text.characters
        options["text"] = stamps
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
    for line in about_characters(item.utterance.text for item in kept):
        print(line)
    return kept


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
            kept += found_parts(utterance, outcome)
        else:
            placed = listed_part(utterance, outcome)
            if isinstance(placed, Fault):
                rejects.append(Reject.of(utterance, placed))
            else:
                kept.append(placed)
    return kept, rejects, left_out


def _screen(listing: Listing, characters: str | None) -> tuple[list[Utterance], list[Reject]]:
    """Set aside what is at fault before any audio is read."""
    accepted: dict[str, Utterance] = {}
    rejects = list(listing.rejects)
    for utterance in listing.utterances:
        fault = check_id(utterance.id)
        if fault is None and utterance.span is not None:
            fault = check_id(utterance.span.recording)
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
    keys, recordings = list[str](), dict[str, Utterance]()
    for utterance in utterances:
        recording = _recording_of(utterance)
        keys.append(journal.identity(recording, rules))
        recordings.setdefault(keys[-1], recording)
    known = journal.read(path)
    if known:  # Of this preparation, or of another that was stopped.
        known = {key: outcome for key, outcome in known.items() if key in recordings}
    if known:
        print(f"continuing an interrupted preparation: {len(known)} recordings already checked")
    todo = [recording for key, recording in recordings.items() if key not in known]
    with path.open("a", encoding="utf-8") as file, checked(todo, settings) as outcomes:
        for utterance, key in zip(utterances, keys, strict=True):
            if key in known:
                yield utterance, known[key]
                continue
            outcome = next(outcomes)
            # A fault is looked at again next time: its cause may lie outside the file.
            if not outcome.reason or outcome.reason == NO_SPEECH:
                journal.append(file, key, outcome)
            if len(recordings) < len(keys):  # others of it may follow
                known[key] = outcome
            yield utterance, outcome


def _recording_of(utterance: Utterance) -> Utterance:
    """What is decoded for an utterance: once for all parts of a recording."""
    span = utterance.span
    if span is None:
        return utterance
    whole = Span(span.recording, channel=span.channel)
    return Utterance(span.recording, utterance.path, utterance.set, span=whole)


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
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent)
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


def _fingerprint(corpus: str, options: dict[str, Any], listing: Listing) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, corpus, options], sort_keys=True).encode())
    for utterance in listing.utterances:
        fields = [utterance.text, utterance.reference, utterance.speaker]
        # Only where there is one: corpora without are recognised as they were.
        fields += [] if utterance.written is None else [utterance.written]
        if utterance.span is not None or utterance.gender is not None or utterance.custom:
            span = utterance.span and asdict(utterance.span)
            fields.append(json.dumps([span, utterance.gender, dict(utterance.custom)]))
        digest.update(json.dumps([journal.identity(utterance), *fields]).encode())
    for reject in (*listing.rejects, *listing.left_out):
        digest.update(json.dumps(asdict(reject)).encode())
    return digest.hexdigest()


def _judge(kept: list[Kept], rejects: list[Reject], settings: Settings) -> None:
    # A recording that is cut is one entry, however many its parts.
    recordings = {(one.utterance.set, one.path) for one in kept if one.is_found}
    sound = len(recordings) + sum(not one.is_found for one in kept)
    total = sound + len(rejects)
    where = f"see {settings.output / manifests.REJECTS}"
    share = len(rejects) / total if total else 1.0
    is_too_large = total >= MIN_ITEMS_FOR_SHARE and share > settings.max_reject_share
    if kept and not is_too_large:
        return
    most = ""
    if rejects:
        reason, count = Counter(one.reason for one in rejects).most_common(1)[0]
        first = next(one for one in rejects if one.reason == reason)
        most = f"; {reason} {count}, the first '{manifests.encodable(first.id)}': {first.detail}"
    if not kept:
        raise UserError(
            f"nothing is usable: all {total} entries were rejected{most}",
            f"{where} for the reasons, and fix the most frequent one",
        )
    raise UserError(
        f"{len(rejects)} of {total} entries ({share:.0%}) were rejected, more than "
        f"--max-reject-share {settings.max_reject_share:g}{most}; {where}",
        "fix them or raise it",
    )
