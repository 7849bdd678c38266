"""Dev speech in training: each rank hears its share, and what it counts is summed over all.

Shape suffixes: B utterances, N samples, T input frames, F features of a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from asr.config.schema import Config
from asr.data.batching import split_into_micro_batches
from asr.data.dataset import SpeechSet, load_dev_sets
from asr.data.loading.ahead import each_made_ahead
from asr.data.manifest.admission import by_content
from asr.data.reading import Readable
from asr.data.segments import Kind, Segment
from asr.decoding.reading import Reading
from asr.distributed.process_group import Ranks
from asr.errors import UserError
from asr.model.features import FrontEnd
from asr.model.speech_model import SpeechModel
from asr.training.guards.audio_store import bring_together
from asr.utils.devices import sent
from asr.utils.launcher import cores_of_this_process

_MAX_BATCH_SECONDS = 120.0
_MOST_READERS = 4
"""Threads of a rank that read dev speech."""


class Watch(Protocol):
    """Who looks on as texts are read."""

    metrics: list[Any]
    """Gets those of each set."""

    def __call__(
        self, found: Reading, segments: Sequence[Segment], references: Sequence[str]
    ) -> None:
        """Some of this rank's share of a dev set."""


@dataclass(frozen=True)
class DevMetrics(ABC):
    """A model on a dev set: its fields are those of a line of metrics.jsonl."""

    @property
    @abstractmethod
    def score(self) -> float:
        """What checkpoints are compared by; the lower, the better."""


def mean_score(found: Sequence[DevMetrics]) -> float | None:
    """Over dev sets; None without."""
    return sum(one.score for one in found) / len(found) if found else None


@dataclass(frozen=True)
class Share:
    """Some utterances of a dev set, as a model hears them."""

    features_BTF: Tensor
    lengths_B: Tensor
    seconds: list[float]
    segments: list[Segment]
    is_mine: bool
    """Else it is a neighbour's, and not to be counted."""


@dataclass(frozen=True)
class DevSets(ABC):
    """Dev sets, and how a model is judged on them."""

    sets: Sequence[SpeechSet]
    front_end: FrontEnd
    ranks: Ranks
    most_lost: float
    """Share of a set that may be lost, before nothing is said of it."""

    @abstractmethod
    def evaluate(
        self, network: SpeechModel, speech: SpeechSet, watch: Watch | None = None
    ) -> DevMetrics:
        """One of the sets by a model in evaluation mode; `watch` sees what is read of it. A collective.

        Raises UserError, on all ranks, where more of the set is lost than may be.
        """

    def evaluate_beside(
        self, network: SpeechModel, average: SpeechModel, speech: SpeechSet, watch: Watch | None
    ) -> DevMetrics:
        """The same, where the run's average is at hand."""
        return self.evaluate(network, speech, watch)

    def shares(self, speech: SpeechSet, lost: list[str]) -> Iterator[Share]:
        """A set, as this rank hears it; what cannot be read goes into `lost`, once over all ranks.

        A rank without a share hears a neighbour's, uncounted: the forward pass may be a collective.
        """
        segments = [Segment(Kind.LABELLED, i, 0, float(s)) for i, s in enumerate(speech.seconds)]
        shortest = self.front_end.shortest_seconds
        slots = split_into_micro_batches(
            segments, self.ranks.world, _MAX_BATCH_SECONDS, shortest_seconds=shortest
        )
        rank, device = self.ranks.rank, self.ranks.device
        shares = [slot[rank] or next(part for part in slot if part) for slot in slots]
        bring_together(speech, [s.index for share in shares for s in share], self.ranks)
        for slot, share, heard in zip(slots, shares, _heard(speech, shares), strict=True):
            mine = slot[rank]
            lost += [error.what for error in heard.lost.values()] if mine else []
            features_BTF, lengths_B = self.front_end(
                sent(heard.waveforms_BN, device), heard.samples_B
            )
            read = [share[place] for place in heard.kept]
            seconds = [segment.seconds for segment in read] or [1.0]
            yield Share(features_BTF, lengths_B, seconds, read, is_mine=bool(mine and read))

    def count_lost(self, speech: SpeechSet, lost: Sequence[str]) -> int:
        """Over all ranks. A collective. Raises UserError where they are more than may be."""
        [count] = self.ranks.sum([float(len(lost))])
        if count > self.most_lost * len(speech):
            [first, *_] = self.ranks.gather(list(lost))
            raise UserError(
                f"dev set '{speech.name}': {count:.0f} of {len(speech)} utterances cannot be read, such as "
                f"{first}",
                "mount or restore the audio, and run the same command: it goes on from its last checkpoint",
            ).of_all(self.ranks.is_first)
        return int(count)


def sets_that_fit(config: Config, front_end: FrontEnd) -> list[SpeechSet]:
    """A recipe's. Raises UserError where one is missing, of another rate, or too long for the model."""
    sets, most = load_dev_sets(config), front_end.longest_seconds
    for speech in sets if most else []:
        longest = int(speech.seconds.argmax())
        if speech.seconds[longest] > most:
            raise UserError(
                f"utterance '{speech.ids[longest]}' of dev set '{speech.name}' has "
                f"{speech.seconds[longest]:.4g} s, and the model hears at most {most:g} s",
                "cut it, or take a dev set of shorter ones",
            )
    return sets


def _heard(speech: SpeechSet, shares: Iterable[Sequence[Segment]]) -> Iterator[Readable]:
    """The audio of each share, of which some are read while those before them are decoded."""
    cuts = ([speech.cuts[segment.index] for segment in share] for share in shares)
    threads = min(_MOST_READERS, cores_of_this_process())
    with by_content():  # once: threads share the backend
        yield from each_made_ahead(lambda own: Readable.of(own, range(len(own))), cuts, threads)
