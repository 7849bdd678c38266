"""Labels that are kept: the same on every rank, and a checkpoint's as plain tensors.

Two collections: those that schedules use again, by (pass, utterance), and the last one of each utterance,
against which a new one is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from asr.labels.filters import Dropped
from asr.labels.label import Figures, Label
from asr.labels.rows import Key, LabelRow

_REASONS = [None, *Dropped]
_FIGURES = ("confidence", "blank_share", "entropy", "hours", "teacher_age_hours")


@dataclass
class LabelStore:
    """Every rank holds all of it: some 200 bytes an utterance."""

    kept: dict[Key, Label] = field(default_factory=dict)
    former: dict[int, list[int]] = field(default_factory=dict)
    """Tokens of the last label of each utterance."""

    def keep(self, rows: Iterable[LabelRow]) -> None:
        for row in rows:
            self.kept[row.key] = row.label

    def remember(self, rows: Iterable[LabelRow]) -> None:
        for row in rows:
            self.former[row.key[1]] = row.label.tokens

    def let_go(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.kept.pop(key, None)

    def distrust_latest(self, count: int) -> int:
        """Mark the labels made last as not to be trained on; returns how many were."""
        # As old as one another: those of one batch or round.
        hours = sorted((label.hours for label in self.kept.values()), reverse=True)[:count]
        if not hours:
            return 0
        latest = {key: label for key, label in self.kept.items() if label.hours >= hours[-1]}
        for key, label in latest.items():
            self.kept[key] = Label(
                label.tokens,
                label.figures,
                label.hours,
                label.teacher_age_hours,
                Dropped.FORGOTTEN,
            )
        return len(latest)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        labels = list(self.kept.values())
        figures = [
            [*vars(label.figures).values(), label.hours, label.teacher_age_hours]
            for label in labels
        ]
        return {
            "kept/key": torch.tensor(list(self.kept), dtype=torch.int64).reshape(-1, 2),
            "kept/figures": torch.tensor(figures, dtype=torch.float64).reshape(-1, len(_FIGURES)),
            "kept/dropped": torch.tensor(
                [_REASONS.index(label.dropped and Dropped(label.dropped)) for label in labels],
                dtype=torch.int64,
            ),
            **_packed("kept", [label.tokens for label in labels]),
            "former/key": torch.tensor(list(self.former), dtype=torch.int64),
            **_packed("former", list(self.former.values())),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LabelStore:
        """What `tensors` gave."""
        kept = {
            (key[0], key[1]): Label(
                tokens, Figures(*figures[:3]), figures[3], figures[4], _REASONS[reason]
            )
            for key, tokens, figures, reason in zip(
                tensors["kept/key"].tolist(),
                _unpacked("kept", tensors),
                tensors["kept/figures"].tolist(),
                tensors["kept/dropped"].tolist(),
                strict=True,
            )
        }
        former = dict(
            zip(tensors["former/key"].tolist(), _unpacked("former", tensors), strict=True)
        )
        return cls(kept, former)


def _packed(name: str, lists: list[list[int]]) -> dict[str, Tensor]:
    return {
        f"{name}/tokens": torch.tensor([t for tokens in lists for t in tokens], dtype=torch.int32),
        f"{name}/lengths": torch.tensor(list(map(len, lists)), dtype=torch.int64),
    }


def _unpacked(name: str, tensors: Mapping[str, Tensor]) -> list[list[int]]:
    parts = tensors[f"{name}/tokens"].split(tensors[f"{name}/lengths"].tolist())
    return [part.tolist() for part in parts]
