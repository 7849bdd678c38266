"""Labels that are kept: the same on every rank, and a checkpoint's as plain tensors.

Two collections: those that schedules use again, by (pass, utterance), and the last one of each utterance,
against which a new one is compared.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.pseudo_labels.filters import Dropped
from asr.pseudo_labels.records import Key
from asr.pseudo_labels.sharing.exchange import Shared
from asr.pseudo_labels.sharing.former import FormerLabels

_REASONS_BY_POSITION = (
    *("empty", "too_short", "too_long", "low_confidence", "changed", "infeasible", "paused"),
    *("invalidated", "unlabelled"),
)
"""What older checkpoints mean by 1, 2, ...: they do not name their reasons."""


@dataclass(frozen=True, slots=True)
class KeptLabel:
    """A label for later uses."""

    packed: bytes
    """Tokens, four bytes each: there may be hundreds of thousands of labels, on every rank."""
    hours: float
    """Of audio, when it was made."""
    dropped: str | None
    """Why it is not trained on."""
    packed_confidences: bytes = b""
    """Of its tokens and its end, four bytes each; empty where tokens are not weighed."""

    @property
    def confidences(self) -> list[float]:
        found: list[float] = np.frombuffer(self.packed_confidences, np.float32).tolist()
        return found

    @property
    def tokens(self) -> list[int]:
        return unpacked(self.packed)


@dataclass
class LabelStore:
    """Every rank holds all of it: for a label some 100 bytes and four a token."""

    kept: dict[Key, KeptLabel] = field(default_factory=dict)
    former: FormerLabels = field(default_factory=FormerLabels)
    """Packed tokens of the last label of each utterance."""

    def keep(self, made: Shared, keys: Iterable[Key], hours: float) -> None:
        """Labels of all ranks, by their keys in the order of the stream; made at `hours` of audio."""
        tokens = _parts(made.tokens, made.lengths)
        sure = _parts(made.confidences, made.confidence_lengths)
        for key, one, confidences, dropped in zip(keys, tokens, sure, made.dropped, strict=True):
            self.kept.pop(key, None)  # a new label comes last
            self.kept[key] = KeptLabel(one, hours, dropped, confidences)

    def remember(self, made: Shared) -> None:
        """The same labels, where they are any, as the last ones of their utterances."""
        ends, of_labels = np.cumsum(made.lengths), made.are_labels
        self.former.put(
            made.utterances[of_labels], made.tokens, ends[of_labels], made.lengths[of_labels]
        )

    def discard(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.kept.pop(key, None)

    def invalidate_latest(
        self, count: int, later: Container[object] = (), with_their_round: bool = False
    ) -> int:
        """Mark the labels made last, but for `later` ones, as not to be trained on; returns how many were.

        `with_their_round`: and those made together with the oldest of them.
        """
        keys = [key for key in self.kept if key not in later]
        latest = keys[-count:]
        if latest and with_their_round:
            since_hours = min(self.kept[key].hours for key in latest)
            latest = [key for key in keys if self.kept[key].hours >= since_hours]
        for key in latest:
            self.leave_out(key, Dropped.INVALIDATED)
        return len(latest)

    def leave_out(self, key: Key, reason: Dropped) -> None:
        """Do not train on a label, if it is kept."""
        if key in self.kept:
            self.kept[key] = replace(self.kept[key], dropped=str(reason))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        labels = list(self.kept.values())
        # By name, and not by its place in our enumeration, which may grow in the middle.
        names = sorted({label.dropped for label in labels if label.dropped})
        numbers = {None: 0} | {name: number for number, name in enumerate(names, start=1)}
        return {
            "kept/key": torch.tensor(list(self.kept), dtype=torch.int64).reshape(-1, 2),
            "kept/hours": torch.tensor([label.hours for label in labels], dtype=torch.float64),
            "kept/dropped": torch.tensor([numbers[o.dropped] for o in labels], dtype=torch.int64),
            "kept/reasons": _as_tensor("\n".join(names)),
            **_joined("kept", [label.packed for label in labels]),
            **_joined_confidences([label.packed_confidences for label in labels]),
            "former/key": torch.tensor(list(self.former), dtype=torch.int64),
            **_joined("former", list(self.former.values())),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LabelStore:
        """What `tensors` gave, of this version or an older one."""
        names: Sequence[str] = _REASONS_BY_POSITION
        if "kept/reasons" in tensors:
            names = _as_text(tensors["kept/reasons"]).split("\n")
        reasons = [None, *names]
        columns = (tensors[f"kept/{name}"].tolist() for name in ("key", "hours", "dropped"))
        kept = {
            (key[0], key[1]): KeptLabel(tokens, hours, reasons[reason], sure)
            for tokens, sure, key, hours, reason in zip(
                _parted("kept", tensors), _parted_confidences(tensors), *columns, strict=True
            )
        }
        former = FormerLabels()
        names_of_former = ("key", "tokens", "lengths")
        keys, of_all, lengths = (tensors[f"former/{one}"].numpy().copy() for one in names_of_former)
        former.put(keys, of_all, np.cumsum(lengths), lengths)
        return cls(kept, former)


def unpacked(tokens: bytes) -> list[int]:
    """Tokens that lie in four bytes each."""
    found: list[int] = np.frombuffer(tokens, np.int32).tolist()
    return found


def _parts(values: NDArray[Any], lengths: NDArray[np.int64]) -> Iterator[bytes]:
    packed, end = values.tobytes(), 0
    for length in lengths.tolist():
        start, end = end, end + values.itemsize * length
        yield packed[start:end]


def _as_tensor(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _as_text(tensor: Tensor) -> str:
    return bytes(tensor.tolist()).decode()


def _joined(name: str, parts: list[bytes]) -> dict[str, Tensor]:
    tokens = np.frombuffer(b"".join(parts), np.int32).copy()
    lengths = [len(part) // 4 for part in parts]
    return {
        f"{name}/tokens": torch.from_numpy(tokens),
        f"{name}/lengths": torch.tensor(lengths, dtype=torch.int64),
    }


def _joined_confidences(parts: list[bytes]) -> dict[str, Tensor]:
    """Nothing where no token is weighed."""
    if not any(parts):
        return {}
    sure = np.frombuffer(b"".join(parts), np.float32).copy()
    return {
        "kept/confidences": torch.from_numpy(sure),
        "kept/confidence_lengths": torch.tensor([len(part) // 4 for part in parts]),
    }


def _parted_confidences(tensors: Mapping[str, Tensor]) -> list[bytes]:
    """Those of older checkpoints, and of runs that weigh no tokens, are empty."""
    if "kept/confidences" not in tensors:
        return [b""] * len(tensors["kept/key"])
    ends = np.cumsum(tensors["kept/confidence_lengths"].numpy())
    parts = np.split(tensors["kept/confidences"].numpy(), ends[:-1])
    return [part.tobytes() for part in parts]


def _parted(name: str, tensors: Mapping[str, Tensor]) -> list[bytes]:
    tokens = tensors[f"{name}/tokens"].numpy()
    ends = np.cumsum(tensors[f"{name}/lengths"].numpy())
    return [part.tobytes() for part in np.split(tokens, ends[:-1])] if len(ends) else []
