"""What the student is trained for: a micro-batch and the student -> a loss.

The training step knows the protocol alone. Which objective a micro-batch has depends on its kind.

Shape suffixes: B utterances, S encoder frames or places of tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.dataloader import MicroBatch
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.model.criterion import Criterion, Output, TokenWeights
from asr.pseudo_labels.pseudo_labeler import PseudoLabeler
from asr.training.batch_stats import BatchStats

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

    A collective, which always draws the same dropout. Without places, logits of silence: with them a rank
    that has nothing to train on takes part in the passes of the others.
    """
    criterion: Criterion
    """Of the student."""


@dataclass(frozen=True)
class TrainedOn:
    """The utterances of a micro-batch that are trained on."""

    loss: Tensor
    """Their sum, in nats, with its graph."""
    seconds: float
    """Their audio."""
    segments: list[Segment]
    targets: Targets
    best_tokens: Targets
    """Of the student as it trains: what it would have said."""
    blanks: tuple[int, int]
    """Frames that it leaves blank, and all of them; of an encoder-decoder none."""


class Objective(ABC):
    """What turns a micro-batch and the student into a loss."""

    @abstractmethod
    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """The loss summed over the micro-batch, in nats, with its graph; what was done goes into `stats`.

        A collective: every rank calls it, also with an empty micro-batch, and gets a loss with a graph.
        """


class TextObjective(Objective):
    """The student's criterion on the targets that a subclass finds."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    @abstractmethod
    def targets(
        self, given: StudentInput, stats: BatchStats
    ) -> tuple[Targets, list[int], TokenWeights]:
        """Targets of each utterance, the places of those to train on, and weights of each one's tokens."""

    @abstractmethod
    def weighted(self, trained: TrainedOn, stats: BatchStats) -> Tensor:
        """The loss as it counts, of utterances that were trained on; what they come to goes into `stats`."""

    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """Utterances whose loss is NaN or infinite are counted, named, and left out."""
        targets, kept, weights = self.targets(given, stats)
        losses_B = torch.empty(0)
        while True:
            chosen = [targets[i] for i in kept]
            output = Output(*given.forward(kept, chosen))
            if kept:
                own = [weights[i] for i in kept]
                losses_B = given.criterion.training_losses(output, chosen, own)
            finite = torch.isfinite(losses_B).tolist()
            # All ranks go round together, since the forward pass may be a collective.
            if not self.ranks.sum([float(len(finite) - sum(finite))])[0]:
                break
            bad = [i for i, good in zip(kept, finite, strict=True) if not good]
            stats.non_finite += len(bad)
            stats.non_finite_ids += [given.micro_batch.ids[i] for i in bad]
            kept = [i for i in kept if i not in bad]
            losses_B = torch.empty(0)
        if not kept:
            return output.nothing()
        segments = [given.micro_batch.segments[i] for i in kept]
        trained = TrainedOn(
            losses_B.sum(),
            sum(segment.seconds for segment in segments),
            segments,
            chosen,
            given.criterion.best_tokens(output.logits_BSV.detach(), output.lengths_B),
            given.criterion.blanks(output.logits_BSV.detach(), output.lengths_B),
        )
        return self.weighted(trained, stats)


class Transcripts(TextObjective):
    """Transcripts. Those that the student cannot emit in an utterance's frames are left out, and counted."""

    def targets(
        self, given: StudentInput, stats: BatchStats
    ) -> tuple[Targets, list[int], TokenWeights]:
        targets, can_emit = given.micro_batch.targets, given.criterion.can_emit
        heard = [i for i in range(len(targets)) if i not in given.micro_batch.lost]
        kept = [i for i in heard if can_emit(targets[i], given.frames[i])]
        stats.infeasible_transcripts += len(heard) - len(kept)
        return targets, kept, [None] * len(targets)

    def weighted(self, trained: TrainedOn, stats: BatchStats) -> Tensor:
        stats.loss_labelled += trained.loss.item()
        stats.labelled_seconds += trained.seconds
        stats.note_output(trained.blanks, trained.best_tokens, trained.targets)
        return trained.loss


class PseudoLabels(TextObjective):
    """The pseudo-labels of untranscribed speech."""

    def __init__(self, ranks: Ranks, labeler: PseudoLabeler, weight: float) -> None:
        """`weight`: of the loss, beside that of transcripts."""
        super().__init__(ranks)
        self.labeler, self.weight = labeler, weight

    def targets(
        self, given: StudentInput, stats: BatchStats
    ) -> tuple[Targets, list[int], TokenWeights]:
        return self.labeler.targets(given.micro_batch, given.frames)

    def weighted(self, trained: TrainedOn, stats: BatchStats) -> Tensor:
        stats.loss_pseudo_labelled += trained.loss.item()
        stats.pseudo_labelled_seconds += trained.seconds
        self.labeler.compare(trained.segments, trained.best_tokens, trained.targets)
        return trained.loss * self.weight


def make_objectives(
    ranks: Ranks, labeler: PseudoLabeler | None, loss_weight: float
) -> dict[Kind, Objective]:
    """The objective of each kind of speech; without a labeler, of transcribed speech alone."""
    found: dict[Kind, Objective] = {Kind.LABELLED: Transcripts(ranks)}
    if labeler is not None:
        found[Kind.UNTRANSCRIBED] = PseudoLabels(ranks, labeler, loss_weight)
    return found
