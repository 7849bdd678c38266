"""Label prepared sets, by as many processes as there are, and go on after a kill.

Micro-batches are the same whatever the processes; each has one process that labels it, and what is done is
in the journal (decoding/sharing). Processes do not wait for each other: the one that finishes last writes
the ledger and the exports, in the order of the sets. A micro-batch of which some audio cannot be read is done
without it, and tried again by the next call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asr.data.batching import split_into_micro_batches
from asr.data.dataset import SpeechSet
from asr.data.loading.ahead import each_made_ahead
from asr.data.manifest.index import digest
from asr.data.reading import Readable
from asr.data.segments import Kind, Segment
from asr.decoding.safeguards import compression_ratio
from asr.decoding.sharing.journal import Journal
from asr.decoding.sharing.processes import Processes
from asr.errors import UserError
from asr.evaluation.normalisers import Normaliser
from asr.pseudo_labels.filters import Dropped
from asr.pseudo_labels.label import Label, LabelMetrics
from asr.pseudo_labels.labelling.recogniser import Recogniser
from asr.pseudo_labels.ledger import LabelLedger
from asr.pseudo_labels.outside.label_files import write_labels
from asr.pseudo_labels.outside.lines import WrittenLabel
from asr.pseudo_labels.records import LabelRecord, measured

_SAY_EVERY_SECONDS = 20.0
_MOST_NAMED = 10
_DIGITS = 6
"""Of a confidence: the ledger's fp32 and every export then hold the same number."""


@dataclass(frozen=True)
class Labelled:
    """What has been written, by the process that finished last."""

    files: list[Path]
    """None by the others."""
    lost: int
    """Utterances whose audio no process could read."""


@dataclass(frozen=True)
class SetLabeller:
    """All that labels some sets into one folder."""

    recogniser: Recogniser
    speech: SpeechSet
    normaliser: Normaliser
    output: Path
    batch_seconds: float
    """Padded audio of a micro-batch: what a kill may lose of a process's work, or else an utterance."""
    processes: Processes
    say: Callable[[str], None]
    scoring: Normaliser
    """Under which a label's errors are counted, where there are references."""
    max_lost_share: float
    """Of the utterances; a process that cannot read more stops."""

    def run(self, exports: Sequence[str]) -> Labelled:
        """Label what is not labelled yet.

        Raises UserError where the folder holds other labels, where an export cannot hold these, and where too
        much of the audio cannot be read.
        """
        journal, batches = Journal(self.output / "journal", "labels"), self._batches()
        journal.begin(self._stamp)
        rank, world = self.processes.rank, self.processes.world
        with journal.locked():
            own = journal.reopen(rank, {n: batches[n] for n in range(rank, len(batches), world)})
            done = journal.done()
        # Of many processes that find nothing to do, one writes.
        if len(done) == len(batches) and rank:
            return Labelled([], 0)
        with journal.writer(rank) as stream:
            for number, labels in self._labelled([(n, batches[n], own[n]) for n in own]):
                journal.note(stream, number, labels)
        with journal.locked():
            done = journal.done()
            if len(done) < len(batches):
                return Labelled([], 0)
            labels = [one for line in done.values() for one in journal.read(line)]
            lost = len(self.speech) - len(labels)
            written = self._write(labels, exports) if labels else []
            journal.reopen(rank, dict(enumerate(batches)))
            return Labelled(written, lost)

    @property
    def _stamp(self) -> dict[str, Any]:
        speech = self.speech
        return {
            "recogniser": dict(self.recogniser.stamp),
            "sets": speech.name,
            "utterances": digest(speech.keys, speech.seconds),
            "normaliser": self.normaliser.stamp,
            "batch_seconds": self.batch_seconds,
        }

    def _batches(self) -> list[list[Segment]]:
        """Of utterances of similar length; by number, and the same for any number of processes."""
        segments = [
            Segment(Kind.UNTRANSCRIBED, place, 0, seconds)
            for place, seconds in enumerate(self.speech.seconds.tolist())
        ]
        if not self.recogniser.is_batched:
            return [[segment] for segment in segments]
        slots = split_into_micro_batches(segments, 1, self.batch_seconds)
        return [batch for [batch] in slots if batch]

    def _labelled(
        self, work: list[tuple[int, list[Segment], int]]
    ) -> Iterator[tuple[int, list[Any]]]:
        """The labels of each micro-batch, whose audio is read while the one before it is labelled.

        Of one of which so many are known already, none where no more can be read now.
        """
        total = sum(one.seconds for _, batch, _ in work for one in batch)
        seconds, said, lost = 0.0, time.monotonic(), 0
        audio = each_made_ahead(self._read, [batch for _, batch, _ in work])
        for (number, batch, known), heard in zip(work, audio, strict=True):
            lost = self._count_lost(lost, heard)
            kept = heard.kept if len(heard.kept) > known else []
            yield number, self._labels([batch[place] for place in kept], heard)
            seconds += sum(one.seconds for one in batch)
            if time.monotonic() - said > _SAY_EVERY_SECONDS:
                said = time.monotonic()
                self.say(
                    f"process {self.processes.rank}: {seconds / 3600:.2f} of {total / 3600:.2f} h labelled"
                )

    def _read(self, batch: list[Segment]) -> Readable:
        places = [segment.index for segment in batch]
        self.speech.bring(places)
        return Readable.of(self.speech.cuts, places)

    def _count_lost(self, before: int, heard: Readable) -> int:
        """Of this process; the first ones are named. Raises UserError beyond the limit."""
        for number, error in enumerate(heard.lost.values(), start=before):
            if number < _MOST_NAMED:
                self.say(f"lost, not labelled: {error.what}")
        lost, utterances = before + len(heard.lost), len(self.speech)
        if heard.lost and lost > self.max_lost_share * utterances:
            first = next(iter(heard.lost.values()))
            raise UserError(
                f"{lost:,} of {utterances:,} utterances cannot be read, more than --max-lost-share "
                f"{self.max_lost_share:g}, such as {first.what}",
                "mount or restore the audio, and run the same command: it goes on",
            )
        return lost

    @torch.inference_mode()
    def _labels(self, batch: list[Segment], heard: Readable) -> list[Any]:
        """As the journal has them: place, text, tokens, and the metrics by name."""
        if not batch:
            return []
        waveforms_BN, samples_B = heard.waveforms_BN, heard.samples_B
        return [
            [segment.index, self.normaliser.apply(one.text), one.tokens, _plain(one.metrics)]
            for segment, one in zip(batch, self.recogniser(waveforms_BN, samples_B), strict=True)
        ]

    def _write(self, labels: Sequence[list[Any]], exports: Sequence[str]) -> list[Path]:
        """The ledger, one row an utterance, in the order of the sets; and the same in other formats."""
        found = {place: rest for place, *rest in labels}
        records = [self._record(place, *found[place]) for place in sorted(found)]
        ledger = LabelLedger(self.output, 0)
        ledger.note_labels(1, records)
        ledger.write(1)
        written = [self._written(place, found[place]) for place in sorted(found)] if exports else []
        return [self.output, *(write_labels(self.output, kind, written) for kind in exports)]

    def _record(self, place: int, text: str, tokens: int, metrics: dict[str, Any]) -> LabelRecord:
        speech, unknown = self.speech, {n: math.nan for n, v in metrics.items() if v is None}
        dropped = None if text else str(Dropped.EMPTY)
        known = LabelMetrics(**{**metrics, **unknown, "compression_ratio": compression_ratio(text)})
        label = Label([0] * tokens, known, 0.0, math.nan, dropped)
        reference = self.normaliser.apply(speech.references[place])
        errors = measured(self.scoring.apply(reference), self.scoring.apply(text))
        seconds = float(speech.seconds[place])
        return LabelRecord((0, place), speech.ids[place], seconds, label, text, None, errors)

    def _written(self, place: int, label: list[Any]) -> WrittenLabel:
        text, _, metrics = label
        cut, reference = self.speech.records[place], self.speech.references[place]
        return WrittenLabel(cut["id"], text, metrics["confidence"], cut["duration"], reference, cut)


def _plain(metrics: LabelMetrics) -> dict[str, Any]:
    """In JSON's terms: null for what is not known."""
    return {
        name: value
        if isinstance(value, str)
        else None
        if value is None or math.isnan(value)
        else round(value, _DIGITS)
        for name, value in vars(metrics).items()
    }
