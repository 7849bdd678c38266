"""What an objective is: a micro-batch and the student -> a loss. Trainer and training step know this alone.

Shape suffixes: B utterances, T feature frames, F mel bins, S encoder frames or places of tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from asr.data.dataloader import RankBatch
from asr.data.loading.micro_batch import MicroBatch
from asr.data.segments import Segment
from asr.distributed.process_group import Ranks
from asr.training.batch_stats import BatchStats
from asr.training.validation.dev_sets import DevMetrics

Targets = list[list[int]]
"""Token ids of each utterance."""
T = TypeVar("T")


@dataclass(frozen=True)
class StudentInput:
    """A micro-batch as the student receives it: read, and augmented. Where it hears several views of speech all
    utterances are there in the first, and then all in the next."""

    micro_batch: MicroBatch
    features: tuple[Tensor, Tensor]
    """(B, T, F) and lengths (B,): what it hears."""
    frames: list[int]
    """Encoder frames of each."""
    forward: Callable[[list[int], Targets], tuple[Tensor, ...]]
    """Places of what to look at, and their targets, for a student that scores texts -> what it says
    (B, S, V) and lengths (B,), and what else it says as it trains (Output).

    It always draws the same dropout. Without places, what it says of silence: with them a rank
    that has nothing to train on takes part in the passes of the others.
    """
    is_collective: bool
    """Whether `forward` communicates, so that all ranks must call it as often."""


class Objective(ABC):
    """What turns a micro-batch and the student into a loss."""

    @property
    def acts_on_evaluations(self) -> bool:
        """Whether `evaluated` may change weights or end the run: then nothing is saved before it."""
        return False

    @property
    def is_sound(self) -> bool:
        """Whether the dev score of the last evaluation says how good the model is."""
        return True

    def begin_batch(self, batch: RankBatch, number: int, hours: float) -> float:
        """Before its micro-batches: what the global batch's summed loss is divided by. A collective.

        Of all ranks and known beforehand, so that ranks and accumulation only change the order of summation.
        `number` counts the batches of the run, which has consumed so many hours of audio.
        """
        return batch.batch.seconds

    def augmented(
        self, features_BTF: Tensor, lengths_B: Tensor, segments: Sequence[Segment]
    ) -> Tensor:
        """The student's features, before they are masked; the lengths (B,) are on the host."""
        return features_BTF

    def prepare(self, micro_batch: MicroBatch) -> None:
        """A micro-batch that is not trained on, but what later ones need is made of it. A collective."""
        raise NotImplementedError(f"{type(self).__name__} trains on all that it hears")

    @abstractmethod
    def loss(self, given: StudentInput, stats: BatchStats) -> Tensor:
        """The loss summed over the micro-batch, with its graph; what was done goes into `stats`.

        A collective: every rank calls it, also with an empty micro-batch, and gets a loss with a graph.
        """

    def end_batch(self, batch: RankBatch) -> None:
        """After its micro-batches. A collective."""

    @abstractmethod
    def metrics(self, stats: BatchStats, seconds: float) -> dict[str, Any]:
        """Of a metrics line, `loss` first: a global batch of so many seconds of audio, over all ranks."""

    def stepped(self, hours: float, average_moved: bool) -> None:
        """An update was applied, at `hours` of audio."""

    def watch(self, stats: BatchStats, hours: float, seconds: float) -> list[str]:
        """After an update of so many seconds of audio, over all ranks, which ended at `hours`: judge, and act.

        Lines for people. A collective.
        """
        return []

    def evaluated(self, hours: float, found: Mapping[str, Sequence[DevMetrics]]) -> list[str]:
        """Student and teacher were, on each dev set. Lines for people. A collective."""
        return []

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json, by their names there."""
        return {}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Copies of more tensors for a checkpoint, by the name of their file. A collective."""
        return {}

    def files(self) -> list[Path]:
        """Files of the run's folder, for the checkpoint's."""
        return []

    def load(self, state: Mapping[str, Any], read: Callable[[str], Mapping[str, Tensor]]) -> None:
        """Go on from a checkpoint's state.json; `read` gives tensors by the name of their file."""


def without_non_finite(
    attempt: Callable[[list[int]], tuple[Tensor, T]],
    kept: list[int],
    given: StudentInput,
    stats: BatchStats,
    ranks: Ranks,
) -> tuple[list[int], Tensor, T]:
    """Utterances whose loss is NaN or infinite are counted, named, and left out of another attempt.

    `attempt`: places of utterances -> their losses (B,), on the CPU, and what else there is. Returns the places
    that are left, and what the last attempt did. A collective.
    """
    while True:
        losses_B, found = attempt(kept)
        finite = torch.isfinite(losses_B).tolist()
        lost = float(len(finite) - sum(finite))
        # Where the forward pass is a collective all ranks go round together; else nobody waits for others.
        if not (ranks.sum([lost])[0] if given.is_collective else lost):
            return kept, losses_B, found
        del found  # its graph
        bad = [i for i, good in zip(kept, finite, strict=True) if not good]
        stats.non_finite += len(bad)
        stats.non_finite_ids += [given.micro_batch.ids[i] for i in bad]
        kept = [i for i in kept if i not in bad]
