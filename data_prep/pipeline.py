"""From a corpus's own listing to validated manifests: the part that all corpora share.

Restartable and atomic. Results of decoding are journalled, so an interrupted run continues where it
stopped. All files are written to OUT/.partial and renamed together, the summary last. What an earlier
preparation left is removed before work begins: nothing in OUT looks complete that is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from asr.errors import UserError

from . import manifests
from .manifests import Kept, Listing, Reject, Utterance
from .validate import SAMPLE_RATE_HZ, Fault, check_audio, check_id, check_text

MIN_ITEMS_FOR_SHARE = 20
"""In a smaller corpus a few bad files are a large share; it is then not judged by its share."""

_VERSION = 1
_STAGING = ".partial"
_JOURNAL = "checked.jsonl"


@dataclass(frozen=True)
class Settings:
    """How to prepare, as opposed to what."""

    output: Path
    jobs: int = 1
    max_reject_share: float = 0.10


@dataclass(frozen=True)
class _Outcome:
    """What became of a recording: journalled, hence plain values. `path` is empty when rejected."""

    path: str = ""
    samples: int = 0
    converted: bool = False
    reason: str = ""
    detail: str = ""


def prepare(
    corpus: str,
    options: dict[str, Any],
    listing: Listing,
    settings: Settings,
    characters: str | None = None,
) -> None:
    """Validate all that is listed and write manifests, references, rejects and summary to OUT.

    `options` are those that change the result; with the listing they make up the fingerprint by
    which a finished preparation is recognised. Raises UserError when too much is rejected.
    """
    output = settings.output
    options = {**options, "characters": characters, "max_reject_share": settings.max_reject_share}
    fingerprint = _fingerprint(corpus, options, listing)
    earlier = manifests.read_summary(output)
    if earlier is not None and _is_finished(output, earlier, fingerprint):
        print(
            f"{output}: already prepared from the same input, nothing to do "
            f"(delete {manifests.SUMMARY} there to prepare again)"
        )
        print(manifests.summary_table(earlier["sets"]))
        return
    _clear(output, earlier, corpus)
    accepted, rejects = _screen(listing, characters)
    kept = []
    for utterance, outcome in _check_all(accepted, settings):
        if outcome.reason:
            rejects.append(Reject.of(utterance, Fault(outcome.reason, outcome.detail)))
        else:
            path = Path(outcome.path)
            kept.append(Kept(utterance, path, outcome.samples, outcome.converted))
    manifests.write_lines(output / manifests.REJECTS, map(manifests.reject_record, rejects))
    _judge(kept, rejects, settings)
    sets = manifests.summarise(kept, rejects)
    summary = {"corpus": corpus, "fingerprint": fingerprint, "options": options, "sets": sets}
    _publish(output, kept, summary)
    print(manifests.summary_table(sets))
    if rejects:
        print(f"{len(rejects)} rejected: see {output / manifests.REJECTS}")


def to_16khz_mono(source: Path, target: Path) -> int:
    """Average the channels, resample, write 16-bit FLAC atomically; returns samples at 16 kHz."""
    waveform, rate = soundfile.read(source, dtype="float32", always_2d=True)
    mono = waveform.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        mono = _resample(mono, rate)
    with manifests.replacing(target) as file:
        soundfile.write(file, mono, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return len(mono)


def _resample(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(waveform), rate_hz, SAMPLE_RATE_HZ).numpy()


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
    utterances: list[Utterance], settings: Settings
) -> Iterator[tuple[Utterance, _Outcome]]:
    """Outcomes in the order of the listing, from threads: libsndfile holds no lock."""
    journal = settings.output / _STAGING / _JOURNAL
    known = _read_journal(journal)
    if known:
        print(f"continuing an interrupted preparation: {len(known)} recordings already checked")
    work = partial(_check_one, known=known, output=settings.output)
    pool = ThreadPoolExecutor(max(1, settings.jobs))
    try:
        with journal.open("a", encoding="utf-8") as file:
            outcomes = pool.map(work, utterances)
            bar = tqdm(outcomes, "checking audio", len(utterances), unit="file", disable=None)
            for utterance, (key, outcome) in zip(utterances, bar, strict=True):
                # A fault is looked at again next time: its cause may lie outside the file.
                if key not in known and not outcome.reason:
                    file.write(json.dumps([key, asdict(outcome)]) + "\n")
                    file.flush()
                yield utterance, outcome
    finally:
        pool.shutdown(cancel_futures=True)


def _check_one(
    utterance: Utterance, known: dict[str, _Outcome], output: Path
) -> tuple[str, _Outcome]:
    key = _identity(utterance)
    if key in known:
        return key, known[key]
    check = check_audio(utterance.path)
    if check.fault is not None:
        return key, _Outcome(reason=check.fault.reason, detail=check.fault.detail)
    if not check.needs_conversion:
        return key, _Outcome(os.path.abspath(utterance.path), check.samples)
    target = output / "audio" / f"{utterance.id}.flac"
    samples = to_16khz_mono(utterance.path, target)
    if samples == 0:
        return key, _Outcome(reason="empty", detail="the file holds less than one 16 kHz sample")
    return key, _Outcome(os.path.abspath(target), samples, converted=True)


def _identity(utterance: Utterance) -> str:
    """Says whether a file is still the one that was seen: name, place, size and time of change."""
    try:
        status = utterance.path.stat()
    except OSError:
        return json.dumps([utterance.id, str(utterance.path)])
    return json.dumps([utterance.id, str(utterance.path), status.st_size, status.st_mtime_ns])


def _read_journal(path: Path) -> dict[str, _Outcome]:
    known: dict[str, _Outcome] = {}
    if not path.is_file():
        return known
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            key, values = json.loads(line)
            outcome = _Outcome(**values)
        except (ValueError, TypeError):
            continue  # The line that was being written when the run was stopped.
        if not outcome.converted or Path(outcome.path).is_file():
            known[key] = outcome
    return known


def _fingerprint(corpus: str, options: dict[str, Any], listing: Listing) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, corpus, options], sort_keys=True).encode())
    for utterance in listing.utterances:
        fields = [utterance.set, utterance.text, utterance.reference, utterance.speaker]
        digest.update(json.dumps([_identity(utterance), *fields]).encode())
    for reject in listing.rejects:
        digest.update(json.dumps(asdict(reject)).encode())
    return digest.hexdigest()


def _is_finished(output: Path, earlier: dict[str, Any], fingerprint: str) -> bool:
    complete = all((output / name).is_file() for name in earlier["outputs"])
    return complete and earlier.get("fingerprint") == fingerprint


def _clear(output: Path, earlier: dict[str, Any] | None, corpus: str) -> None:
    if earlier is not None and earlier.get("corpus") != corpus:
        raise UserError(
            f"{output} holds a preparation of '{earlier.get('corpus')}'; "
            "give another --output, or delete that folder"
        )
    try:
        (output / _STAGING).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the output folder {output}: {error.strerror}") from None
    # A run that stopped while it renamed has left its summary in the staging folder.
    stopped = manifests.read_summary(output / _STAGING)
    for summary in filter(None, (earlier, stopped)):
        _remove_outputs(output, summary["outputs"])
    (output / manifests.SUMMARY).unlink(missing_ok=True)


def _remove_outputs(output: Path, names: list[str]) -> None:
    # Names come from a file: nothing outside OUT, and no other file, is removed on its word.
    for name in names:
        path = (output / name).resolve()
        if path.is_relative_to(output.resolve()) and path.name.endswith((".jsonl.gz", ".tsv")):
            path.unlink(missing_ok=True)


def _judge(kept: list[Kept], rejects: list[Reject], settings: Settings) -> None:
    total = len(kept) + len(rejects)
    where = f"see {settings.output / manifests.REJECTS}"
    if not kept:
        raise UserError(f"nothing is usable: all {total} entries were rejected; {where}")
    share = len(rejects) / total
    if total >= MIN_ITEMS_FOR_SHARE and share > settings.max_reject_share:
        raise UserError(
            f"{len(rejects)} of {total} entries ({share:.0%}) were rejected, more than "
            f"--max-reject-share {settings.max_reject_share:g}; {where}; mend them or raise it"
        )


def _publish(output: Path, kept: list[Kept], summary: dict[str, Any]) -> None:
    """Write all to the staging folder, then rename one by one; the summary says what there is."""
    staging = output / _STAGING
    names = list(_write_sets(staging, kept))
    summary = {**summary, "outputs": [*names, manifests.REJECTS]}
    manifests.write_json(staging / manifests.SUMMARY, summary)
    for name in [*names, manifests.SUMMARY]:
        (output / name).parent.mkdir(exist_ok=True)
        os.replace(staging / name, output / name)
    shutil.rmtree(staging)


def _write_sets(folder: Path, kept: list[Kept]) -> Iterator[str]:
    """Write manifests and references of each set; yields their names relative to `folder`."""
    for name in dict.fromkeys(item.utterance.set for item in kept):
        mine = [item for item in kept if item.utterance.set == name]
        utterances = [item.utterance for item in mine]
        if any(utterance.reference is not None for utterance in utterances):
            path = f"references/{name}.tsv"
            manifests.write_references(folder / path, utterances)
            yield path
        path = f"{name}.jsonl.gz"
        manifests.write_cuts(folder / path, map(manifests.make_cut, mine))
        yield path
