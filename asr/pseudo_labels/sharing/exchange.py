"""Labels and uses of a batch, a row of numbers for each of its segments.

A rank fills the rows of its own; one sum over the ranks makes them everybody's, in the order of the stream.

Shape suffixes: N segments of the batch, M those that were labelled, R labels and uses, F counts, C columns.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from asr.config.pseudo_label import HealthConfig
from asr.data.segments import Segment
from asr.distributed.process_group import Ranks
from asr.pseudo_labels.filters import NO_LABEL, Dropped
from asr.pseudo_labels.label_counts import COUNTED, LabelCounts, Observations
from asr.pseudo_labels.records import BatchRecords, Key
from asr.utils.devices import sent

_OTHER = "other"
_REASONS = (None, *map(str, Dropped), _OTHER)
"""Why a label is not trained on, by the number in the table; `other` of a checkpoint of another version."""
_NUMBERS = {reason: number for number, reason in enumerate(_REASONS)} | {
    "forgotten": _REASONS.index(Dropped.INVALIDATED)  # as older versions called it
}
_MADE, _DROPPED, _TOKENS, _CONFIDENCES, _COMPARED, _USED, _USE_DROPPED, _COUNTS = range(8)
_OF_A_USE = [COUNTED.index(name) for name in ("disagreements", "agreed_on", "uses")]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Shared:
    """What all ranks did with the segments of a batch."""

    segments: Sequence[Segment]
    utterances_N: Ints
    """Of each its utterance's place in its corpus."""
    table_CN: NDArray[np.float64]
    tokens: NDArray[np.int32]
    """Of all labels, one behind the other; empty where nobody needs them."""
    confidences: NDArray[np.float32]
    """Of their tokens and ends; empty where tokens are not weighed."""

    @cached_property
    def places(self) -> Ints:
        """(M,) of the segments that were labelled."""
        return np.flatnonzero(self.table_CN[_MADE])

    @cached_property
    def labelled(self) -> list[Segment]:
        """The M segments."""
        return [self.segments[place] for place in self.places.tolist()]

    @property
    def utterances(self) -> Ints:
        """(M,) theirs."""
        found: Ints = self.utterances_N[self.places]
        return found

    @property
    def lengths(self) -> Ints:
        """(M,) tokens of each label."""
        return self._of_labels(_TOKENS)

    @property
    def confidence_lengths(self) -> Ints:
        """(M,) their confidences."""
        return self._of_labels(_CONFIDENCES)

    @property
    def are_labels(self) -> NDArray[np.bool_]:
        """(M,) whether there is anything to compare with."""
        nothing = [_NUMBERS[str(reason)] for reason in NO_LABEL]
        found: NDArray[np.bool_] = ~np.isin(self._of_labels(_DROPPED), nothing)
        return found

    def _of_labels(self, column: int) -> Ints:
        found: Ints = self.table_CN[column, self.places].astype(np.int64)
        return found

    @property
    def dropped(self) -> list[str | None]:
        """Why each of the M labels is not trained on."""
        return [_REASONS[number] for number in self._of_labels(_DROPPED).tolist()]

    @property
    def reasons(self) -> list[str]:
        """The same of those that are not, alone."""
        numbers = self._of_labels(_DROPPED)
        return [str(_REASONS[number]) for number in numbers[numbers > 0].tolist()]

    @property
    def uses(self) -> int:
        """Of labels that were kept."""
        return int(self.table_CN[_USED].sum())

    def dropped_uses(self, key: Callable[[Segment], Key]) -> list[str]:
        """Why kept labels were not trained on, in the order of their keys."""
        numbers = self.table_CN[_USE_DROPPED].astype(np.int64)
        places = np.flatnonzero(numbers).tolist()
        found = [(self.segments[place], str(_REASONS[numbers[place]])) for place in places]
        found.sort(key=lambda one: (key(one[0]), one[0].use))
        return [reason for _, reason in found]

    @property
    def counts(self) -> NDArray[np.float64]:
        """(F, M) of each label, as LabelCounts has them."""
        found = self.table_CN[_COUNTS:, self.places]
        found[_OF_A_USE] = 0.0
        return found

    def observed(self, key: Callable[[Segment], Key]) -> Observations:
        """Each label and each use, in the order of the stream, a label before its use."""
        made, used = self.places, np.flatnonzero(self.table_CN[_COMPARED])
        order_R = np.argsort(np.concatenate([2 * made, 2 * used + 1]), kind="stable")
        rows = np.empty_like(order_R)
        rows[order_R] = np.arange(len(order_R))
        counts_FR = np.zeros((len(COUNTED), len(rows)))
        for column, values in enumerate(self.table_CN[_COUNTS:]):
            of_a_use = column in _OF_A_USE
            if values.any():
                own = rows[len(made) :] if of_a_use else rows[: len(made)]
                counts_FR[column, own] = values[used if of_a_use else made]
        places_R = np.concatenate([made, np.full(len(used), -1)])

        def key_of(row: int) -> Key | None:
            place = int(places_R[order_R[row]])
            return None if place < 0 else key(self.segments[place])

        return Observations(counts_FR, key_of)

    def with_earlier(self, earlier: Shared | None) -> Shared:
        """Both, of other segments of the same batch; the earlier one's tokens are not needed any more."""
        if earlier is None:
            return self
        return replace(self, table_CN=self.table_CN + earlier.table_CN)


@dataclass
class BatchNotes:
    """What a rank notes of a batch until all share it."""

    own: BatchRecords = field(default_factory=BatchRecords)
    segments: Sequence[Segment] = ()
    """Of all ranks, in the order of the stream."""
    utterances_N: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each its utterance's place in its corpus."""
    places: Mapping[Segment, int] = field(default_factory=dict)
    """In it, of this rank's segments."""

    def begin(
        self,
        segments: Sequence[Segment],
        places: Mapping[Segment, int] | None = None,
        utterances_N: Ints | None = None,
    ) -> None:
        """A batch, or a part of a round; places, and utterances of all segments, where somebody knows them."""
        if places is None:
            places = {segment: place for place, segment in enumerate(segments)}
        if utterances_N is None:
            utterances_N = np.array([segment.index for segment in segments], np.int64)
        self.segments, self.places, self.utterances_N = segments, places, utterances_N

    def share(
        self, ranks: Ranks, judged_by: tuple[HealthConfig, float], with_tokens: bool
    ) -> Shared:
        """What all ranks noted since; with tokens where a rank may need those of others. A collective."""
        own, self.own = self.own, BatchRecords()
        whole_CN = torch.zeros(_COUNTS + len(COUNTED), len(self.segments), dtype=torch.float64)
        table_CN = whole_CN.numpy()
        for one in own.made:
            sizes = len(one.label.tokens), len(one.label.confidences)
            table_CN[:_COMPARED, one.place] = 1, _number(one.label.dropped), *sizes
            table_CN[_COUNTS:, one.place] = LabelCounts.of([one], *judged_by).row()
        for use in own.uses:
            table_CN[[_USED, _USE_DROPPED], use.place] = 1, _number(use.dropped)
        for two in own.compared:
            table_CN[_COMPARED, two.place] = 1
            of_a_use = [_COUNTS + column for column in _OF_A_USE]
            table_CN[of_a_use, two.place] = two.edits, two.tokens, 1
        table_CN = _added_up(ranks, whole_CN)
        none = np.zeros(0, np.int32), np.zeros(0, np.float32)
        shared = Shared(self.segments, self.utterances_N, table_CN, *none)
        if not with_tokens:
            return shared
        tokens = [(one.place, one.label.tokens) for one in own.made]
        sure = [(one.place, one.label.confidences) for one in own.made]
        places, sizes_of_sure = shared.places, shared.confidence_lengths
        return replace(
            shared,
            tokens=_joined(ranks, places, shared.lengths, tokens, np.int32),
            confidences=_joined(ranks, places, sizes_of_sure, sure, np.float32),
        )


def _number(reason: str | None) -> int:
    return _NUMBERS.get(reason and str(reason), _NUMBERS[_OTHER])


def _joined(
    ranks: Ranks,
    places: Ints,
    lengths: Ints,
    own: Sequence[tuple[int, Sequence[float]]],
    dtype: DTypeLike,
) -> NDArray[Any]:
    """What all ranks have for each place, one behind the other. A collective, unless it is nothing."""
    ends = np.cumsum(lengths)
    values = _untouched_zeros(int(ends[-1]) if len(ends) else 0, np.dtype(dtype))
    found = np.searchsorted(places, [place for place, _ in own])
    for end, (_, of_label) in zip(ends[found].tolist(), own, strict=True):
        values[end - len(of_label) : end] = of_label
    return _added_up(ranks, torch.from_numpy(values)) if len(values) else values


def _untouched_zeros(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Of which only what is written to costs time: torch's zeros write all, and NumPy's ask for huge pages."""
    if not count:
        return np.zeros(0, dtype)
    return np.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype)


def _added_up(ranks: Ranks, tensor: Tensor) -> NDArray[Any]:
    if ranks.world > 1:
        whole = sent(tensor, ranks.device)
        ranks.add_up(whole)
        tensor = whole.cpu()
    found: NDArray[Any] = tensor.numpy()
    return found
