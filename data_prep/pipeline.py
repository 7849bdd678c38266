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
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import soundfile
from tqdm import tqdm

from asr.errors import UserError
from asr.utils.files import replacing

from . import contents, journal, manifests
from .contents import Preparation
from .journal import Outcome
from .manifests import Kept, Listing, Reject, Span, Utterance
from .text.characters import about_characters
from .text.rules import TextRules, written_down
from .validate import SAMPLE_RATE_HZ, Fault, check_audio, check_id, check_text

MIN_ITEMS_FOR_SHARE = 20
"""In a smaller corpus a few bad files are a large share; it is then not judged by its share."""

_VERSION = 2
_END_SECONDS = 0.25
"""What ends so much after its recording, as durations that were rounded do, ends with it."""
_NEAR_END_SECONDS = 0.01
"""And so does what ends so near to its end."""
_FEWEST_FOR_PROCESSES = 500
_CHUNK = 16
_BLOCK_SECONDS = 10
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Settings:
    """How to prepare, as opposed to what."""

    output: Path
    jobs: int = 1
    max_reject_share: float = 0.10
    text: TextRules = field(default_factory=TextRules)


def prepare(
    corpus: str,
    sets: Collection[str],
    options: dict[str, Any],
    listing: Listing,
    settings: Settings,
    characters: str | None = None,
) -> None:
    """Validate all that is listed and write manifests, references, rejects and summary to OUT.

    `sets` names all that this call replaces, those without an utterance too; other sets in OUT stay.
    `options` are those that change the result; with the listing they make up the fingerprint by
    which a finished preparation is recognised. `characters` are those of the corpus as it is given: where
    `settings.text` changes transcripts, they are not asked for. Raises UserError when too much is rejected.
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
            return
        others = contents.clear(there, sets)
        kept, faults = _validate(listing, settings, characters)
        rejects = [*listing.left_out, *faults]
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


def to_16khz_mono(source: Path, target: Path, channel: int | None = None) -> int:
    """Average the channels or take one, resample, write 16-bit FLAC atomically; returns samples at 16 kHz.

    A block at a time: recordings may be hours long.
    """
    from asr.data.audio import AudioFile, resampled, stream_audio  # imports torch

    samples = 0
    if channel is None:
        blocks = stream_audio(AudioFile.named(source), SAMPLE_RATE_HZ)
    else:
        rate = soundfile.info(source).samplerate
        blocks = resampled(_channel_of(source, channel), rate, SAMPLE_RATE_HZ)
    with (
        replacing(target) as file,
        soundfile.SoundFile(file, "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="FLAC") as sound,
    ):
        for block_N in blocks:
            sound.write(block_N.numpy())
            samples += len(block_N)
    return samples


def _channel_of(source: Path, channel: int) -> Iterator[Any]:
    import torch

    with soundfile.SoundFile(source) as sound:
        size = _BLOCK_SECONDS * sound.samplerate
        for block_NC in sound.blocks(size, dtype="float32", always_2d=True):
            yield torch.from_numpy(block_NC[:, channel].copy())


def _validate(
    listing: Listing, settings: Settings, characters: str | None
) -> tuple[list[Kept], list[Reject]]:
    accepted, rejects = _screen(listing, characters)
    kept = []
    for utterance, outcome in _check_all(accepted, settings):
        if outcome.reason:
            rejects.append(Reject.of(utterance, Fault(outcome.reason, outcome.detail)))
            continue
        placed = _placed(utterance, outcome)
        if isinstance(placed, Fault):
            rejects.append(Reject.of(utterance, placed))
        else:
            kept.append(placed)
    return kept, rejects


def _placed(utterance: Utterance, outcome: Outcome) -> Kept | Fault:
    """The utterance in a recording that is sound: a part of it may lie beside it."""
    whole = Kept(utterance, Path(outcome.path), outcome.samples, outcome.converted)
    span = utterance.span
    if span is None:
        return whole
    first = round(span.start_seconds * SAMPLE_RATE_HZ)
    last = outcome.samples if span.seconds is None else first + round(span.seconds * SAMPLE_RATE_HZ)
    beyond = (last - outcome.samples) / SAMPLE_RATE_HZ
    here = f"{first / SAMPLE_RATE_HZ:.3f} s to {last / SAMPLE_RATE_HZ:.3f} s"
    if first < 0 or first >= outcome.samples or beyond > _END_SECONDS:
        length = outcome.samples / SAMPLE_RATE_HZ
        return Fault("beyond_end", f"from {here} of a recording of {length:.3f} s: fix the times")
    if outcome.samples - last < _NEAR_END_SECONDS * SAMPLE_RATE_HZ:
        last = outcome.samples
    if last <= first:
        return Fault("empty", f"from {here} there is nothing: fix the times")
    if (first, last) == (0, outcome.samples):
        return whole
    return replace(
        whole, samples=last - first, first_sample=first, recording_samples=outcome.samples
    )


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
    utterances: list[Utterance], settings: Settings
) -> Iterator[tuple[Utterance, Outcome]]:
    """Outcomes in the order of the listing; journalled as they come, so that a stopped call continues."""
    path = settings.output / contents.STAGING / journal.JOURNAL
    keys, recordings = list[str](), dict[str, Utterance]()
    for utterance in utterances:
        recording = _recording_of(utterance)
        keys.append(journal.identity(recording))
        recordings.setdefault(keys[-1], recording)
    known = journal.read(path)
    if known:  # Of this preparation, or of another that was stopped.
        known = {key: outcome for key, outcome in known.items() if key in recordings}
    if known:
        print(f"continuing an interrupted preparation: {len(known)} recordings already checked")
    todo = [recording for key, recording in recordings.items() if key not in known]
    started = time.perf_counter()
    with path.open("a", encoding="utf-8") as file, _checked(todo, settings) as fresh:
        bar = tqdm(fresh, "checking audio", len(todo), unit="file", disable=None)
        outcomes = iter(bar)
        for utterance, key in zip(utterances, keys, strict=True):
            if key in known:
                yield utterance, known[key]
                continue
            outcome = next(outcomes)
            # A fault is looked at again next time: its cause may lie outside the file.
            if not outcome.reason:
                journal.append(file, key, outcome)
            if utterance.span is not None:  # other parts of it may follow
                known[key] = outcome
            yield utterance, outcome
    if todo:
        seconds = time.perf_counter() - started
        print(
            f"checked {len(todo):,} recordings in {seconds:.1f} s: {len(todo) / seconds:,.0f} a second, "
            f"{settings.jobs} at a time"
        )


def _recording_of(utterance: Utterance) -> Utterance:
    """What is decoded for an utterance: once for all parts of a recording."""
    span = utterance.span
    if span is None:
        return utterance
    whole = Span(span.recording, channel=span.channel)
    return Utterance(span.recording, utterance.path, utterance.set, span=whole)


@contextmanager
def _checked(utterances: list[Utterance], settings: Settings) -> Iterator[Iterator[Outcome]]:
    """Outcomes in order, from as many processes as `settings.jobs`; of a few utterances, from threads."""
    work = partial(_check_one, output=settings.output)
    jobs = max(1, settings.jobs)
    pool: Executor
    if len(utterances) < _FEWEST_FOR_PROCESSES or jobs == 1:
        pool = ThreadPoolExecutor(jobs)  # libsndfile holds no lock
    else:
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=die_with_parent)
    try:
        yield pool.map(work, utterances, chunksize=_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever. Linux alone can say so."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _check_one(utterance: Utterance, output: Path) -> Outcome:
    check = check_audio(utterance.path)
    if check.fault is not None:
        return Outcome(reason=check.fault.reason, detail=check.fault.detail)
    channel = utterance.span.channel if utterance.span is not None else None
    if channel is not None and not 0 <= channel < check.channels:
        has = "one channel" if check.channels == 1 else f"channels 0 to {check.channels - 1}"
        return Outcome(reason="missing_channel", detail=f"channel {channel}: the file has {has}")
    if not check.needs_conversion:
        return Outcome(os.path.abspath(utterance.path), check.samples)
    target = _converted_path(utterance, output)
    samples = to_16khz_mono(utterance.path, target, channel if check.channels > 1 else None)
    if samples == 0:
        return Outcome(reason="empty", detail="the file holds less than one 16 kHz sample")
    return Outcome(os.path.abspath(target), samples, converted=True)


def _converted_path(utterance: Utterance, output: Path) -> Path:
    """A place that no other recording has: neither of another set, nor of another root."""
    source = os.path.abspath(utterance.path).encode("utf-8", "surrogateescape")
    if utterance.span is not None and utterance.span.channel is not None:
        source += f" {utterance.span.channel}".encode()
    mark = hashlib.sha256(source).hexdigest()[:8]
    return output / "audio" / utterance.set / f"{utterance.id}.{mark}.flac"


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
    total = len(kept) + len(rejects)
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
