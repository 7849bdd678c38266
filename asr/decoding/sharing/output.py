"""The one file of hypotheses that some processes write together.

Each decodes its share of the micro-batches, which are cut before they are shared: so the file is the same
whatever the number of processes. What is done is in OUTPUT.parts (journal.py), from which the process that
finishes last writes the file; then the parts go. After a kill the same command goes on from them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.data.reading import Readable
from asr.decoding.sharing.journal import Journal, Line
from asr.decoding.sharing.processes import Processes
from asr.errors import UserError
from asr.evaluation.hypotheses import bound
from asr.utils.files import read_json, write_json, write_jsonl
from asr.utils.locks import locked

if TYPE_CHECKING:
    from asr.data.dataset import SpeechSet
    from asr.decoding.decode_dataset import Batch
    from asr.decoding.tuning import Noted, Rates

_SAY_EVERY_SECONDS = 20.0
_PARTS, _TUNING = ".parts", ".tuning.parts"


@dataclass(frozen=True)
class Work:
    """A set, cut into batches, and what makes records of one: of what of it can be read."""

    speech: SpeechSet
    batches: Sequence[Batch]
    decode: Callable[[Batch], list[tuple[int, dict[str, Any]]]]
    """A batch -> its utterances' places in the set, and their records."""
    lines: Mapping[str, Any] = field(default_factory=dict)
    """What else of a record depends on, besides what is in the stamp."""


class SharedOutput:
    """A file of hypotheses, its stamp, and what is beside them while they are made."""

    def __init__(self, path: Path, processes: Processes, say: Callable[[str], None]) -> None:
        """To be made before the model is loaded, so that it notices when others finish meanwhile."""
        self.path, self.processes, self._say = path, processes, say
        self._journal = Journal(path.with_name(path.name + _PARTS), "hypotheses")
        self._stamp_before = self._stamp_state()

    @property
    def stamp_path(self) -> Path:
        return self.path.with_suffix(".stamp.json")

    def _stamp_state(self) -> tuple[int, int] | None:
        try:
            state = self.stamp_path.stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns

    def is_finished_by_others(self, known: Mapping[str, Any]) -> bool:
        """Whether the file has been written since this process began, with all that is `known` of its stamp.

        So it is for a process that begins late and whose share was done before an interruption.
        """
        if self.processes.world == 1 or self._stamp_state() in (None, self._stamp_before):
            return False
        try:
            stamp = dict(read_json(self.stamp_path))
        except (OSError, ValueError, TypeError):
            return False
        return all(stamp.get(name) == value for name, value in _plain(known).items())

    def noted_points(self, depends_on: Mapping[str, Any]) -> Noted:
        """The points of a tuning, each found by one process; kept until the file is written."""
        folder = self.path.with_name(self.path.name + _TUNING)
        Journal(folder, "points").begin(depends_on, starts_anew=True)

        def noted(number: int, find: Callable[[], Rates]) -> Rates:
            point = folder / f"{number:03d}.json"
            with locked(point, where_possible=True):
                try:
                    known: Rates = read_json(point)
                except ValueError:  # nothing yet, or half of it
                    known = find()
                    write_json(point, dict(known))
            return known

        return noted

    def write(
        self, work: Work, stamp: Mapping[str, Any], tuning: Mapping[str, Any] | None = None
    ) -> list[tuple[str, str]] | None:
        """Decode this process's share; the process that finds all done writes the file, stamp and `tuning`.

        References and hypotheses, by the process that has written; None by the others. Raises UserError where
        some of the set cannot be read: of those that are left no error rate is taken for the set's, so the
        others are written to OUTPUT.incomplete. The same command tries those that lack again.
        """
        journal, batches, rank = self._journal, work.batches, self.processes.rank
        if self.is_finished_by_others(stamp):
            return None
        depends_on = {**stamp, **work.lines, "content": content_of(work.speech)}
        journal.begin({**depends_on, "batches": _hash_of(batches)}, starts_anew=True)
        share = {n: batches[n] for n in range(rank, len(batches), self.processes.world)}
        try:
            with journal.locked():
                own = journal.reopen(rank, share)
            before = sum(max(0, own.get(n, len(batch))) for n, batch in share.items())
            if before:
                self._say(f"going on: {before} utterances of this process's share are done")
            if own:
                with journal.writer(rank) as stream:
                    for number, found in self._decoded(work, list(own)):
                        more = found if len(found) > own[number] else []
                        journal.note(stream, number, [list(one) for one in more])
            with journal.locked():
                done = journal.done()
                if len(done) == len(batches):
                    return self._finish(work, done, stamp, tuning)
                if not done:  # others have finished meanwhile
                    return None
        except FileNotFoundError as error:
            if journal.folder.is_dir() or error.filename != str(journal.folder):
                raise
            return None  # the same
        self._say(f"process {rank} has done its share; {len(done)} of {len(batches)} parts are")
        return None

    def _decoded(
        self, work: Work, numbers: Sequence[int]
    ) -> Iterator[tuple[int, list[tuple[int, dict[str, Any]]]]]:
        """The records of each of these batches; says now and then how far it is."""
        hours = work.speech.seconds / 3600
        total = sum(hours[place] for number in numbers for place in work.batches[number])
        done, said = 0.0, time.monotonic()
        for number in numbers:
            yield number, work.decode(work.batches[number])
            done += sum(hours[place] for place in work.batches[number])
            if time.monotonic() - said > _SAY_EVERY_SECONDS:
                said = time.monotonic()
                who = f"process {self.processes.rank}: " if self.processes.world > 1 else ""
                self._say(f"{who}{done:.2f} of {total:.2f} h decoded")

    def _finish(
        self,
        work: Work,
        done: Mapping[int, Line],
        stamp: Mapping[str, Any],
        tuning: Mapping[str, Any] | None,
    ) -> list[tuple[str, str]]:
        texts, places = list[tuple[str, str]](), set[int]()

        def in_order() -> Iterator[dict[str, Any]]:
            for number in range(len(done)):
                for place, record in self._journal.read(done[number]):
                    places.add(place)
                    texts.append((record["reference"], record["hypothesis"]))
                    yield record

        unfinished = self.path.with_name(f"{self.path.name}.incomplete")
        write_jsonl(unfinished, in_order())
        # Once that is said, they are to be tried again.
        self._journal.reopen(self.processes.rank, dict(enumerate(work.batches)))
        self._check_lost(work.speech, places, unfinished)
        unfinished.replace(self.path)
        if tuning is not None:
            write_json(self.path.with_suffix(".tuning.json"), tuning)
        write_json(self.stamp_path, bound(stamp, self.path))
        for folder in (_TUNING, _PARTS):
            shutil.rmtree(self.path.with_name(self.path.name + folder), ignore_errors=True)
        return texts

    def _check_lost(self, speech: SpeechSet, places: set[int], unfinished: Path) -> None:
        lost = [place for place in range(len(speech)) if place not in places]
        missing, first = len(lost), _why_lost(speech, lost[0]) if lost else ""
        for name, shard in speech.rejects.items():
            if name not in speech.lost_tars:  # whose utterances are in the set, and lost already
                missing, first = (
                    missing + max(1, shard["count"]),
                    first or f"{name} {shard['reason']}",
                )
        if missing:
            raise UserError(
                f"{missing} of {len(places) + missing} utterances of '{speech.name}' cannot be read, such as "
                f"{first}; the hypotheses of the others are in {unfinished}, whose error rate is not the set's",
                "restore the audio and decode again; or prepare the set again, without what is lost",
            )


def _why_lost(speech: SpeechSet, place: int) -> str:
    """By whichever process; if it can be read again meanwhile, its name must do."""
    errors = Readable.of(speech.cuts, [place]).lost.values()
    return next((error.what for error in errors), f"utterance '{speech.ids[place]}'")


def content_of(speech: SpeechSet) -> str:
    """A hash of the manifests' lines and the references beside them."""
    found = hashlib.sha256()
    for index, aside in zip(speech.manifests, speech.reference_overrides, strict=True):
        found.update(index.crcs.tobytes() + json.dumps(sorted(aside.items())).encode())
    return found.hexdigest()


def _hash_of(batches: Sequence[Batch]) -> str:
    return hashlib.sha256(json.dumps([list(batch) for batch in batches]).encode()).hexdigest()


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain
