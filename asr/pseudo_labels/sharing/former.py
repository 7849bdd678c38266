"""The last label of each utterance, on every rank: taken over by the thousand, and looked up one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

_NONE = -1
Ints = NDArray[np.int64]


class FormerLabels(Mapping[int, bytes]):
    """Tokens, four bytes each, by the utterance's place in its corpus; in the order in which they came first.

    Four bytes a token and some 30 an utterance. The tokens of labels that came together stay together until all
    of them are outdated.
    """

    def __init__(self) -> None:
        self._parts: dict[int, NDArray[np.int32]] = {}
        self._in_use: dict[int, int] = {}
        """Utterances whose last label is in a part."""
        self._number = self._seen = self._count = 0
        self._part, self._start, self._length, self._order = (
            np.full(0, _NONE, np.int64) for _ in range(4)
        )

    def put(self, utterances: Ints, tokens: NDArray[np.int32], ends: Ints, lengths: Ints) -> None:
        """Newer labels, `lengths` of `tokens` before `ends`; of an utterance that comes twice the last one.

        `tokens` is kept, and not copied: hundreds of ranks make millions in an update.
        """
        if not len(utterances):
            return
        self._grow(int(utterances.max()) + 1)
        rows, before = np.arange(len(utterances)), self._part[utterances]
        new = utterances[before == _NONE]
        self._order[new[::-1]] = self._seen + np.arange(len(new))[::-1]  # the first time counts
        self._seen += len(new)
        self._start[utterances] = rows  # of an utterance that comes twice the last one stays
        last = np.flatnonzero(self._start[utterances] == rows)
        utterances, before = utterances[last], before[last]
        self._number += 1
        self._parts[self._number], self._in_use[self._number] = tokens, len(last)
        self._part[utterances] = self._number
        self._start[utterances] = (ends - lengths)[last]
        self._length[utterances] = lengths[last]
        outdated = before[before != _NONE]
        self._count += len(last) - len(outdated)
        counts = np.bincount(outdated)
        for part in np.flatnonzero(counts).tolist():
            self._in_use[part] -= int(counts[part])
            if not self._in_use[part]:
                del self._parts[part], self._in_use[part]

    def _grow(self, size: int) -> None:
        more = max(size, 2 * len(self._part)) - len(self._part)
        if size > len(self._part):
            for name in ("_part", "_start", "_length", "_order"):
                setattr(self, name, np.append(getattr(self, name), np.full(more, _NONE)))

    def __getitem__(self, utterance: int) -> bytes:
        if not 0 <= utterance < len(self._part) or self._part[utterance] == _NONE:
            raise KeyError(utterance)
        start = int(self._start[utterance])
        part = self._parts[int(self._part[utterance])]
        return part[start : start + int(self._length[utterance])].tobytes()

    def __iter__(self) -> Iterator[int]:
        known = np.flatnonzero(self._part != _NONE)
        return iter(known[np.argsort(self._order[known])].tolist())

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"FormerLabels of {len(self)} utterances"
