"""`asr prepare segment`: any folder of long recordings -> a set of utterances that refer to them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from asr.utils.signals import begin_worker

from ..contents import opened_contents
from ..corpora.folder import check_folder
from ..corpora.formats.listing import CORPUS, claim, set_names
from ..corpora.walk import walk
from ..journal import Outcome
from ..manifests import Listing, Utterance, read_lines
from ..pipeline import Settings, prepare
from .recording import Cutter
from .utterances import Limits
from .voice_activity import chosen

_SHOWN = 20
_LOOK_EVERY_SECONDS = 0.5
_FEWEST_BYTES_FOR_PROCESSES = 8_000_000
"""Of recordings, 4 minutes of WAV to 45 of Opus. A process takes seconds to start: time for as much."""
_told: Any = None
"""In a worker: the seconds of audio that all workers have done."""


def prepare_segments(
    root: Path,
    settings: Settings,
    limits: Limits,
    vad: str | None = None,
    set_name: str = "untranscribed",
) -> None:
    """Cut every audio file under `root` into utterances; nothing is copied.

    Raises UserError for what `asr prepare folder` does, a detector that is not there, and limits that no
    utterance can keep.
    """
    check_folder(root, settings.output)
    set_names(set_name)  # raises for what names no file
    limits.check()
    detector = chosen(vad)
    of_no_choice = "" if vad else "; --vad chooses"
    print(f"voice activity by {detector}{of_no_choice}")
    listing = list_recordings(root, settings.output, set_name)
    options = {
        "root": os.path.abspath(root),
        "sets": [set_name],
        "cut_by": detector,
        **asdict(limits),
    }
    with opened_contents(settings.output, CORPUS) as there:
        claim(there, (set_name,), root, [set_name])
    try:
        prepare(
            CORPUS,
            [set_name],
            options,
            listing,
            settings,
            cut=partial(cut_in_parallel, cutter=_Work(limits, detector)),
        )
    finally:
        say_what_is_left_out(settings.output, set_name)


def list_recordings(root: Path, output: Path, set_name: str) -> Listing:
    """Ids are paths without extension; with it where two files would have one id, so that none is lost."""
    there = walk(root, output)
    files = [(path, path.relative_to(root)) for path in there.files]
    stems = Counter(relative.with_suffix("").as_posix() for _, relative in files)
    names = [
        relative.as_posix() if stems[stem] > 1 else stem
        for _, relative in files
        for stem in [relative.with_suffix("").as_posix()]
    ]
    pairs = zip(names, files, strict=True)
    for note in there.notes():
        print(f"note: {note}")
    utterances = [Utterance(name, path, set_name) for name, (path, _) in pairs]
    return Listing(utterances, *there.rejects(root, set_name))


@dataclass(frozen=True)
class _Work:
    """What a worker is sent."""

    limits: Limits
    vad: str

    def __call__(self, utterance: Utterance) -> Outcome:
        return Cutter(self.limits, self.vad, tell_seconds)(utterance.path)


def tell_seconds(seconds: float) -> None:
    """In a worker: so much more audio is done."""
    if _told is not None:
        with _told.get_lock():
            _told.value += seconds


def _tell(told: Any) -> None:
    global _told
    _told = told


def _begin_worker(told: Any) -> None:
    _tell(told)
    begin_worker()
    torch.set_num_threads(1)  # the workers share the cores


@contextmanager
def cut_in_parallel(
    recordings: list[Utterance],
    settings: Settings,
    cutter: Callable[[Utterance], Outcome],
    doing: str = "finding speech",
) -> Iterator[Iterator[Outcome]]:
    """Outcomes in order, a recording a core; hours of audio are shown as they pass (`told`)."""
    context, started = get_context("spawn"), time.perf_counter()
    told = context.Value("d", 0.0)
    jobs = max(1, min(settings.jobs, len(recordings)))
    if sum(map(_bytes, recordings)) < _FEWEST_BYTES_FOR_PROCESSES:
        jobs = 1
    pool: Executor
    if jobs == 1:
        pool = ThreadPoolExecutor(1, initializer=_tell, initargs=(told,))
    else:
        pool = ProcessPoolExecutor(jobs, context, initializer=_begin_worker, initargs=(told,))
    try:
        futures = [pool.submit(cutter, one) for one in recordings]
        yield _in_order(futures, told, doing)
    finally:
        pool.shutdown(cancel_futures=True)
    if recordings:
        hours, minutes = told.value / 3600, (time.perf_counter() - started) / 60
        print(
            f"cut {len(recordings):,} recordings, {hours:.2f} h, in {60 * minutes:.1f} s: "
            f"{hours / minutes:.2f} hours of audio a minute, {jobs} at a time"
        )


def _bytes(recording: Utterance) -> int:
    """Of its file; none where that is lost, which its cutter says."""
    with suppress(OSError):
        return recording.path.stat().st_size
    return 0


def _in_order(futures: list[Future[Outcome]], told: Any, doing: str) -> Iterator[Outcome]:
    started = time.perf_counter()
    with tqdm(total=len(futures), desc=doing, unit="file", disable=None) as bar:
        for future in futures:
            while not wait([future], timeout=_LOOK_EVERY_SECONDS).done:
                hours = told.value / 3600
                rate = 60 * hours / (time.perf_counter() - started)
                bar.set_postfix_str(f"{hours:.2f} h, {rate:.2f} h/min")
            bar.update()
            yield future.result()


def say_what_is_left_out(output: Path, set_name: str) -> None:
    """A line a file: recordings are few, and each is long."""
    lines = [one for one in read_lines(output / "rejects.jsonl") if one.get("set") == set_name]
    for one in lines[:_SHOWN]:
        print(f"left out: {one['path']}: {one['reason']}: {one['detail']}")
    if len(lines) > _SHOWN:
        print(f"left out: {len(lines) - _SHOWN} more")
