"""What the student is trained for: a micro-batch and the student -> a loss.

The training step knows the protocol alone. Whence an utterance's text is depends on its kind; both kinds of a
micro-batch are heard in one pass.

Shape suffixes: B utterances, S encoder frames or places of tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.loading.micro_batch import MicroBatch
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.model.criterion import Criterion, Output, Said, TokenWeights
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.training.batch_stats import BatchStats
from asr.utils.devices import fetched, sent

Targets = list[list[int]]
"""Token ids of each utterance."""


@dataclass(frozen=True)
class StudentInput:
    """A micro-batch as the student receives it: read, and augmented."""

    micro_batch: MicroBatch
    frames: list[int]
    """Encoder frames of each utterance."""
    forward: Callable[[list[int], Targets], tuple[Tensor, ...]]
    """Places of the utterances to look at, and their targets -> their logits (B, S, V) and lengths (B,), and
    what else the student says as it trains (Output).

    It always draws the same dropout. Without places, logits of silence: with them a rank
    that has nothing to train on takes part in the passes of the others.
    """
    criterion: Criterion
    """Of the student."""
    is_collective: bool
    """Whether `forward` communicates, so that all ranks must call it as often."""


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


class Objective(ABC):
    """What turns a micro-batch and the student into a loss."""

    @abstractmethod
    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """The loss summed over the micro-batch, in nats, with its graph; what was done goes into `stats`.

        A collective: every rank calls it, also with an empty micro-batch, and gets a loss with a graph.
        """


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

    def __init__(self, ranks: Ranks, sources: Mapping[Kind, TextSource]) -> None:
        self.ranks, self.sources = ranks, dict(sources)

    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """Utterances whose loss is NaN or infinite are counted, named, and left out."""
        texts = self._texts(given, stats)
        kept = texts.kept
        losses_B = torch.empty(0)
        while True:
            chosen = [texts.targets[i] for i in kept]
            output = Output(*given.forward(kept, chosen))
            if kept:
                own = [texts.weights[i] for i in kept]
                frames = [given.frames[i] for i in kept]
                losses_B = given.criterion.training_losses(output, chosen, frames, own)
            # The one wait for the device.
            best_BS, nats_B = fetched(output.logits_BSV.argmax(dim=-1), losses_B.detach())
            finite = torch.isfinite(nats_B).tolist()
            lost = float(len(finite) - sum(finite))
            # Where the forward pass is a collective all ranks go round together; else nobody waits for others.
            if not (self.ranks.sum([lost])[0] if given.is_collective else lost):
                break
            bad = [i for i, good in zip(kept, finite, strict=True) if not good]
            stats.non_finite += len(bad)
            stats.non_finite_ids += [given.micro_batch.ids[i] for i in bad]
            kept = [i for i in kept if i not in bad]
            losses_B = torch.empty(0)
        if not kept:
            return output.nothing()
        segments = [given.micro_batch.segments[i] for i in kept]
        said = given.criterion.said(best_BS, frames, chosen)
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

    def _texts(self, given: StudentInput, stats: BatchStats) -> Texts:
        """Of the whole micro-batch. A collective."""
        whole = given.micro_batch
        targets: Targets = [[]] * len(whole.ids)
        weights: list[Sequence[float] | None] = [None] * len(whole.ids)
        kept: list[int] = []
        for kind in whole.kinds:
            places = whole.places_of(kind)
            frames = [given.frames[place] for place in places]
            own = self.sources[kind].texts(whole.part(kind), frames, given.criterion, stats)
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


def make_objective(
    ranks: Ranks, labeler: PseudoLabeler | None, loss_weight: float
) -> TextObjective:
    """Of transcripts, and with a labeler of its labels, too, which weigh so much."""
    sources: dict[Kind, TextSource] = {Kind.LABELLED: Transcripts()}
    if labeler is not None:
        sources[Kind.UNTRANSCRIBED] = PseudoLabels(labeler, loss_weight)
    return TextObjective(ranks, sources)
