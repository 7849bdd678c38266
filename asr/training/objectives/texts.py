"""Texts as what is to be recognised: the student's criterion on transcripts, and on pseudo-labels.

Whence an utterance's text is depends on its kind; both kinds of a micro-batch are heard in one pass.

Shape suffixes: B utterances, S encoder frames or places of tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.data.dataloader import RankBatch
from asr.data.loading.micro_batch import MicroBatch
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.model.criterion import Criterion, Output, Said, TokenWeights
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.training.batch_stats import BatchStats
from asr.training.objectives.objective import (
    Objective,
    StudentInput,
    Targets,
    without_non_finite,
)
from asr.training.validation.dev_sets import DevMetrics, mean_score
from asr.utils.devices import fetched, sent


@dataclass(frozen=True)
class TrainedOn:
    """The utterances of a micro-batch that are trained on."""

    nats: float
    """Their losses' sum."""
    seconds: float
    """Their audio."""
    segments: list[Segment]
    targets: Targets
    said: list[Said]
    """By the student as it trains."""


@dataclass(frozen=True)
class Texts:
    """What some utterances are to be recognised as."""

    targets: Targets
    kept: list[int]
    """Places of those to train on."""
    weights: TokenWeights
    """Of each one's tokens."""


class TextSource(ABC):
    """Whence the texts of one kind of speech are."""

    weight: float = 1.0
    """Of its losses."""

    @abstractmethod
    def texts(
        self, part: MicroBatch, frames: Sequence[int], criterion: Criterion, stats: BatchStats
    ) -> Texts:
        """Of utterances that have so many encoder frames. A collective, as `Objective.loss` is."""

    @abstractmethod
    def note(self, trained: TrainedOn, stats: BatchStats) -> None:
        """What the utterances that were trained on come to goes into `stats`."""


class TextObjective(Objective):
    """The student's criterion on the texts that the sources of each kind have."""

    def __init__(
        self,
        ranks: Ranks,
        criterion: Criterion,
        labeler: PseudoLabeler | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        """`criterion`: the student's. With a `labeler` its labels are texts, too, and weigh so much."""
        self.ranks, self.criterion, self.labeler = ranks, criterion, labeler
        self.sources: dict[Kind, TextSource] = {Kind.LABELLED: Transcripts()}
        if labeler is not None:
            self.sources[Kind.UNTRANSCRIBED] = PseudoLabels(labeler, loss_weight)
        self._are_labels_shared = True

    def begin_batch(self, batch: RankBatch, number: int, hours: float) -> float:
        """The batch's audio, in seconds."""
        if self.labeler is not None:
            self.labeler.begin_batch(batch.batch, number, hours, batch.places)
        return super().begin_batch(batch, number, hours)

    def prepare(self, micro_batch: MicroBatch) -> None:
        """Label it for the cache."""
        assert self.labeler is not None
        self.labeler.label_for_cache(micro_batch)
        self._are_labels_shared = False

    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """In nats. Utterances whose loss is NaN or infinite are counted, named, and left out."""
        if not self._are_labels_shared and self.labeler is not None:
            self.labeler.share_labels()
            self._are_labels_shared = True
        texts = self._texts(given, stats)

        def attempt(kept: list[int]) -> tuple[Tensor, tuple[Output, Tensor, Tensor]]:
            chosen = [texts.targets[i] for i in kept]
            output, losses_B = Output(*given.forward(kept, chosen)), torch.empty(0)
            if kept:
                own = [texts.weights[i] for i in kept]
                frames = [given.frames[i] for i in kept]
                losses_B = self.criterion.training_losses(output, chosen, frames, own)
            # The one wait for the device.
            best_BS, nats_B = fetched(output.logits_BSV.argmax(dim=-1), losses_B.detach())
            return nats_B, (output, losses_B, best_BS)

        kept, nats_B, (output, losses_B, best_BS) = without_non_finite(
            attempt, texts.kept, given, stats, self.ranks
        )
        if not kept:
            return output.nothing()
        chosen = [texts.targets[i] for i in kept]
        frames = [given.frames[i] for i in kept]
        segments = [given.micro_batch.segments[i] for i in kept]
        said = self.criterion.said(best_BS, frames, chosen)
        weights = [self.sources[segment.kind].weight for segment in segments]
        for kind in given.micro_batch.kinds:
            rows = [row for row, segment in enumerate(segments) if segment.kind is kind]
            if rows:
                trained = TrainedOn(
                    float(nats_B[rows].sum()),
                    sum(segments[row].seconds for row in rows),
                    [segments[row] for row in rows],
                    [chosen[row] for row in rows],
                    [said[row] for row in rows],
                )
                self.sources[kind].note(trained, stats)
        if len(set(weights)) == 1:
            return losses_B.sum() * weights[0]
        return (losses_B * sent(torch.tensor(weights), losses_B.device)).sum()

    def metrics(self, stats: BatchStats, seconds: float) -> dict[str, Any]:
        """Losses in nats a second of audio: `loss` over all of the batch's, others over what was trained on."""
        loss = stats.loss_labelled + stats.loss_pseudo_labelled
        pseudo_labelled = stats.pseudo_labelled_seconds
        return {
            "loss": loss / seconds,
            "loss_labelled": _per_second(stats.loss_labelled, stats.labelled_seconds),
            "loss_pseudo_labelled": _per_second(stats.loss_pseudo_labelled, pseudo_labelled),
            "pseudo_labelled_share": pseudo_labelled / max(1e-9, stats.trained_seconds),
            "infeasible_transcripts": int(stats.infeasible_transcripts),
        }

    def end_batch(self, batch: RankBatch) -> None:
        if self.labeler is not None:
            self.labeler.end_batch(batch.batch)
            self._are_labels_shared = True

    def stepped(self, hours: float, average_moved: bool) -> None:
        if self.labeler is not None:
            self.labeler.teacher.stepped(hours, average_moved)

    def evaluated(self, hours: float, found: Mapping[str, Sequence[DevMetrics]]) -> list[str]:
        if self.labeler is not None:
            self.labeler.teacher.evaluated(hours, mean_score(found["student"]))
        return []

    def state(self) -> dict[str, Any]:
        return {"labelling": self.labeler.state() if self.labeler else None}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return self.labeler.tensors() if self.labeler else {}

    def files(self) -> list[Path]:
        return self.labeler.teacher.files() if self.labeler else []

    def _texts(self, given: StudentInput, stats: BatchStats) -> Texts:
        """Of the whole micro-batch. A collective."""
        whole = given.micro_batch
        targets: Targets = [[]] * len(whole.ids)
        weights: list[Sequence[float] | None] = [None] * len(whole.ids)
        kept: list[int] = []
        for kind in whole.kinds:
            places = whole.places_of(kind)
            frames = [given.frames[place] for place in places]
            own = self.sources[kind].texts(whole.part(kind), frames, self.criterion, stats)
            for place, target, weight in zip(places, own.targets, own.weights, strict=True):
                targets[place], weights[place] = target, weight
            kept += [places[at] for at in own.kept]
        return Texts(targets, sorted(kept), weights)


class Transcripts(TextSource):
    """Transcripts. Those that the student cannot emit in an utterance's frames are left out, and counted."""

    def texts(
        self, part: MicroBatch, frames: Sequence[int], criterion: Criterion, stats: BatchStats
    ) -> Texts:
        heard = [i for i in range(len(part.targets)) if i not in part.lost]
        kept = [i for i in heard if criterion.can_emit(part.targets[i], frames[i])]
        stats.infeasible_transcripts += len(heard) - len(kept)
        return Texts(part.targets, kept, [None] * len(part.targets))

    def note(self, trained: TrainedOn, stats: BatchStats) -> None:
        stats.loss_labelled += trained.nats
        stats.labelled_seconds += trained.seconds
        stats.note_output(trained.said, trained.targets)


class PseudoLabels(TextSource):
    """The pseudo-labels of untranscribed speech."""

    def __init__(self, labeler: PseudoLabeler, weight: float) -> None:
        """`weight`: of the loss, beside that of transcripts."""
        self.labeler, self.weight = labeler, weight

    def texts(
        self, part: MicroBatch, frames: Sequence[int], criterion: Criterion, stats: BatchStats
    ) -> Texts:
        return Texts(*self.labeler.targets(part, frames))

    def note(self, trained: TrainedOn, stats: BatchStats) -> None:
        stats.loss_pseudo_labelled += trained.nats
        stats.pseudo_labelled_seconds += trained.seconds
        paths = [one.tokens for one in trained.said]
        self.labeler.compare(trained.segments, paths, trained.targets)


def _per_second(loss: float, seconds: float) -> float | None:
    return loss / seconds if seconds > 0 else None
