"""One corpus as passes of groups: a pure function of (corpus, seed, pass).

A pass is a shuffled sequence of small groups of utterances of similar length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.utils.seeds import SeedTag, generator

# Durations are multiplied by 1 +- this before they are sorted, so that the members of a group are of
# similar length and yet differ from pass to pass.
_DURATION_JITTER = 0.1
_NOTED_GROUP_DEVIATION = 0.05
_MOST_GROUP_EXCESS = 1.5
_MOST_LABELLED_IN_RATIO = 10
_COPY = 1 << 20
MOST_COPIES = 1_000
"""Of an utterance in a pass: passes and copies share 31 bits in the ledger of labels."""


class Kind(StrEnum):
    """What an utterance is used as."""

    LABELLED = "labelled"
    UNTRANSCRIBED = "untranscribed"


_SEED_OF_KIND = {
    Kind.LABELLED: SeedTag.LABELLED,
    Kind.UNTRANSCRIBED: SeedTag.UNTRANSCRIBED,
}


class Segment(NamedTuple):
    """One utterance as one pass plays it. A tuple: each rank makes those of all, in each update."""

    kind: Kind
    index: int  # type: ignore[assignment]  # a tuple's method of that name is not needed
    """Place of the utterance in its corpus."""
    pass_index: int
    """Of a second copy of an utterance in one pass, 2^20 more, and so on: it is augmented in its own way."""
    seconds: float
    """Audio on disk: what the clock counts."""
    speed: float = 1.0
    """Speed perturbation factor."""
    is_trained: bool = True
    """False: only labelled, for the cache."""
    use: int = 0
    """From 1, of a label that is kept; 0 for a transcript, or a label that is made now."""
    is_last_use: bool = False
    view: int = 0
    """From 1, of what the student hears once more, augmented in another way."""

    @property
    def augmented_seconds(self) -> float:
        """Audio that the student receives."""
        return self.seconds / self.speed

    def seed(self, run_seed: int) -> tuple[int, ...]:
        """Seed of this segment's augmentation, whatever batch or rank it falls to."""
        own = (run_seed, _SEED_OF_KIND[self.kind], self.pass_index, self.index)
        if self.view:
            return (*own, self.use, self.view)
        return (*own, self.use) if self.use else own


def in_views(segments: Sequence[Segment], views: int) -> list[Segment]:
    """Utterances as often as they are heard: all in the first view, then all in the next."""
    return [segment._replace(view=view) for view in range(views) for segment in segments]


@dataclass(frozen=True)
class SetWeights:
    """How often utterances of each set are played in a pass, on average over passes."""

    set_of: NDArray[np.int64]
    """(N,) number of an utterance's set."""
    of_set: NDArray[np.float64]
    """(sets,)"""

    def copies(self, seed: int, kind: Kind, pass_index: int) -> NDArray[np.int64]:
        """(N,) how often a pass plays each utterance.

        In P passes from the first on that is P w, rounded up or down; and a set of n utterances has n w in
        each, rounded: utterances take their turns in a shuffled order.
        """
        turn = np.empty(len(self.set_of))
        for number in range(len(self.of_set)):
            members = np.flatnonzero(self.set_of == number)
            random = generator(seed, SeedTag.SET_WEIGHTS, _SEED_OF_KIND[kind], number)
            turn[members] = (random.permutation(len(members)) + 0.5) / max(1, len(members))
        weights = self.of_set[self.set_of]
        before, after = (np.floor((pass_index + n) * weights + turn) for n in (0, 1))
        return (after - before).astype(np.int64)

    @property
    def of_utterance(self) -> NDArray[np.float64]:
        """(N,)"""
        weights: NDArray[np.float64] = self.of_set[self.set_of]
        return weights


class GroupedCorpus:
    """Passes over one corpus, each cut into groups of about `group_seconds`.

    With `weights` a pass plays utterances several times, or only some of them.
    """

    def __init__(
        self,
        kind: Kind,
        seconds: Sequence[float] | NDArray[np.float64],
        group_seconds: float,
        seed: int,
        speed_factors: Sequence[float] = (1.0,),
        weights: SetWeights | None = None,
    ) -> None:
        self.kind = kind
        self.seconds = np.asarray(seconds, dtype=np.float64)
        if not len(self.seconds):
            raise UserError(
                f"no {kind} utterances",
                f"name sets in corpus.{kind}, or widen corpus.min_seconds and corpus.max_seconds",
            )
        self.group_seconds = group_seconds
        self.seed = seed
        self.speed_factors = tuple(speed_factors)
        self.weights = weights
        self._pass_index = -1
        self._copies: NDArray[np.int64] | None = None
        """(what is played, 2): index and number of the copy; None where everything is played once."""
        self._groups: list[NDArray[np.int64]] = []
        self._speeds = np.empty(0)

    @property
    def mean_group_seconds(self) -> float:
        """Audio of a group of the first pass, on average."""
        groups = self.groups_in_pass(0)
        played = self.seconds if self._copies is None else self.seconds[self._copies[:, 0]]
        return float(played.sum()) / groups

    def groups_in_pass(self, pass_index: int) -> int:
        self._load_pass(pass_index)
        return len(self._groups)

    def group(self, pass_index: int, group: int) -> tuple[Segment, ...]:
        """The utterances of one group of one pass."""
        self._load_pass(pass_index)
        places = self._groups[group]
        index = places if self._copies is None else self._copies[places, 0]
        passes = [pass_index] * len(places)
        if self._copies is not None:
            passes = (pass_index + self._copies[places, 1] * _COPY).tolist()
        columns = (
            index.tolist(),
            passes,
            self.seconds[index].tolist(),
            self._speeds[places].tolist(),
        )
        return tuple(Segment(self.kind, *one) for one in zip(*columns, strict=True))

    def _load_pass(self, pass_index: int) -> None:
        if pass_index == self._pass_index:
            return
        seconds = self.seconds
        if self.weights is not None:
            copies = self.weights.copies(self.seed, self.kind, pass_index)
            index = np.repeat(np.arange(len(seconds)), copies)
            first = np.repeat(np.cumsum(copies) - copies, copies)
            self._copies = np.stack([index, np.arange(len(index)) - first], axis=1)
            seconds = seconds[index]
        random = generator(self.seed, _SEED_OF_KIND[self.kind], pass_index)
        jitter = random.uniform(1.0 - _DURATION_JITTER, 1.0 + _DURATION_JITTER, len(seconds))
        order = np.argsort(seconds * jitter, kind="stable")
        ends = np.cumsum(seconds[order])
        count = max(1, round(float(ends[-1]) / self.group_seconds))
        # An utterance belongs to the group in whose span of audio its middle falls; a group that an
        # utterance longer than a group leaves empty does not exist.
        middles = ends - seconds[order] / 2
        group_of = np.minimum((middles / ends[-1] * count).astype(np.int64), count - 1)
        boundaries = np.flatnonzero(np.diff(group_of)) + 1
        groups = np.split(order, boundaries)
        self._groups = [groups[i] for i in random.permutation(len(groups))]
        self._speeds = random.choice(np.asarray(self.speed_factors), len(seconds))
        self._pass_index = pass_index


def label_ratio(
    given: tuple[int, int] | Literal["natural"], corpora: dict[Kind, GroupedCorpus]
) -> tuple[int, int]:
    """N_L : N_U; the natural one is that of the audio, to within a few percent."""
    if given != "natural":
        return given
    untranscribed = corpora.get(Kind.UNTRANSCRIBED)
    if untranscribed is None:
        return (1, 0)
    labelled = corpora.get(Kind.LABELLED)
    if labelled is None:
        return (0, 1)
    ratio = Fraction(untranscribed.groups_in_pass(0), labelled.groups_in_pass(0)).limit_denominator(
        _MOST_LABELLED_IN_RATIO
    )
    return (ratio.denominator, ratio.numerator) if ratio else (_MOST_LABELLED_IN_RATIO, 1)


def about_groups(corpus: GroupedCorpus) -> list[str]:
    """A note where groups hold clearly more audio than they should, or less.

    Raises UserError where batches would have little to do with their nominal size.
    """
    nominal, mean = corpus.group_seconds, corpus.mean_group_seconds
    holds = f"groups of {corpus.kind} speech hold {mean:.3g} s on average and not {nominal:g} s"
    if mean > _MOST_GROUP_EXCESS * nominal and corpus.groups_in_pass(0) > 1:
        raise UserError(
            f"batch.group_seconds {nominal:g}: {holds}, since utterances are longer, and so batches would "
            "be as much too large",
            f"set batch.group_seconds to {2 * mean:.2g} or more",
        )
    return [holds] if abs(mean - nominal) > _NOTED_GROUP_DEVIATION * nominal else []
