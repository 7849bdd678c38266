"""Whose weights write the labels: the average, the student itself, or a copy that changes seldom or never.

The average of the weights (asr/teacher/ema.py) is kept in every run, since it is what is evaluated and shipped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from asr.config.schema import Config
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks
from asr.distributed.shards import copies
from asr.errors import UserError
from asr.model.speech_model import SpeechModel
from asr.teacher.averages import Averages
from asr.teacher.ema import WeightAverage
from asr.utils.files import link_or_copy, write_tensors
from asr.utils.plugins import find_class

_CANDIDATES = "candidates"


@dataclass(frozen=True)
class TeacherContext:
    """What a teacher can label with, or copy."""

    config: Config
    engine: Engine
    """The student's."""
    averages: Averages
    ranks: Ranks
    new_network: Callable[[], SpeechModel]
    """Another one of the student's shapes, on the CPU, weights unset."""

    @property
    def average(self) -> WeightAverage:
        """The one that labels."""
        return self.averages.labelling


class Teacher(ABC):
    """Hooks of a run's life, all called on every rank; and the forward pass that labels.

    A run stops and goes on between any two hooks: what is not the student's or the average's is saved by
    `state`, `tensors` and `files`, and comes back by `load`.
    """

    def __init__(self, models: TeacherContext) -> None:
        self.models = models
        self.hours = 0.0
        """Of audio, when the labelling weights last changed."""

    @property
    def forward_is_collective(self) -> bool:
        return False

    @abstractmethod
    def labelling(self) -> AbstractContextManager[SpeechModel]:
        """The network that labels, in evaluation mode while it is in use. A collective."""

    def begin(self, hours: float) -> None:
        """Pseudo-labelling begins: before its first update, once a run."""
        # A fork of a supervised run does not know when its weights changed: just now.
        self.hours = self.hours or hours

    def stepped(self, hours: float, average_moved: bool) -> None:
        """An update was applied."""

    def evaluated(self, hours: float, student_wer: float | None) -> None:
        """The student was evaluated: its mean dev WER in percent; None without dev sets."""

    def rollback_weights(self) -> Sequence[Tensor] | None:
        """This rank's shard of what is put back after a collapse; None where nothing can be."""
        return None

    def on_rollback(self) -> None:
        """They were."""

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        return {"hours": self.hours}

    def tensors(self) -> dict[str, Tensor]:
        """Copies of weights, on the first rank, for the checkpoint's labeller.safetensors. A collective."""
        return {}

    def files(self) -> list[Path]:
        """Files of the run's folder, for the checkpoint's; linked, not copied, where that can be."""
        return []

    def load(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Go on from a checkpoint in `folder`."""
        self.hours = state["hours"]


class EmaTeacher(Teacher):
    """The average of the student's weights, of the moment (Busbridge et al., arXiv 2307.13813; MPL, Kaizen)."""

    def labelling(self) -> AbstractContextManager[SpeechModel]:
        return nullcontext(self.models.average.model())

    def rollback_weights(self) -> Sequence[Tensor] | None:
        return self.models.average.average

    def on_rollback(self) -> None:
        self.models.average.moved()

    def stepped(self, hours: float, average_moved: bool) -> None:
        if average_moved:
            self.hours = hours


class FileTeacher(EmaTeacher):
    """The average, where `pseudo_label.outside` asks it; where files alone label, nothing to put back."""

    def rollback_weights(self) -> Sequence[Tensor] | None:
        is_asked = self.models.config.pseudo_label.teacher_from_hours is not None
        return super().rollback_weights() if is_asked else None


class StudentTeacher(Teacher):
    """The student itself, as it is (slimIPL without EMA, arXiv 2010.11524)."""

    @property
    def forward_is_collective(self) -> bool:
        return self.models.engine.forward_is_collective

    def labelling(self) -> AbstractContextManager[SpeechModel]:
        return self.models.engine.evaluating()

    def stepped(self, hours: float, average_moved: bool) -> None:
        self.hours = hours

    def rollback_weights(self) -> Sequence[Tensor] | None:
        return self.models.engine.shards.masters  # under ZeRO in force with the next step

    def on_rollback(self) -> None:
        self.models.engine.shards.reset_moments()  # they are those of what collapsed


class _CopiedTeacher(Teacher):
    """A network of its own."""

    def __init__(self, models: TeacherContext) -> None:
        super().__init__(models)
        device = models.ranks.device
        self.network = models.new_network().float().to(device).eval().requires_grad_(False)

    def labelling(self) -> AbstractContextManager[SpeechModel]:
        return nullcontext(self.network)


class FrozenTeacher(_CopiedTeacher):
    """The average as it was when pseudo-labelling began: classic self-training."""

    is_begun = False

    def begin(self, hours: float) -> None:
        self.network.load_weights(self.models.average.weights())
        self.hours, self.is_begun = hours, True

    def state(self) -> dict[str, Any]:
        return {**super().state(), "is_begun": self.is_begun}

    def tensors(self) -> dict[str, Tensor]:
        if not self.is_begun or not self.models.ranks.is_first:
            return {}
        return copies(self.network.named_weights())

    def load(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
        super().load(state, tensors, folder)
        self.is_begun = state["is_begun"]
        if self.is_begun:
            self.network.load_weights(tensors)


class BestAverageTeacher(_CopiedTeacher):
    """The mean of the N students with the lowest dev WER since pseudo-labelling began (TopIPL, 2506.07659).

    Until the first is evaluated, the average as it was at the beginning.
    """

    def __init__(self, models: TeacherContext) -> None:
        super().__init__(models)
        if not models.config.corpus.dev:
            raise UserError(
                "pseudo_label.teacher average_of_best: corpus.dev is empty, so no student is best",
                "name a dev set there",
            )
        self.folder = Path(models.config.output) / _CANDIDATES
        self.best: list[tuple[float, str]] = []
        """(dev WER, name of the file), best first."""
        self.is_begun = False

    def begin(self, hours: float) -> None:
        self.is_begun = True
        self._add(hours, math.inf, self.models.average.weights())

    def evaluated(self, hours: float, student_wer: float | None) -> None:
        if not self.is_begun or student_wer is None:
            return
        count = self.models.config.pseudo_label.best_checkpoints
        known = [wer for wer, _ in self.best if wer < math.inf]
        if len(known) < count or student_wer < known[-1]:
            shards = self.models.engine.shards
            self._add(hours, student_wer, shards.whole(shards.masters))

    def _add(self, hours: float, wer: float, weights: Mapping[str, Tensor]) -> None:
        ranks, name = self.models.ranks, f"hours-{hours:011.4f}.safetensors"
        if ranks.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_tensors(self.folder / name, weights)
        better = [pair for pair in self.best if pair[0] < math.inf and pair[1] != name]
        count = self.models.config.pseudo_label.best_checkpoints
        self.best = sorted([*better, (wer, name)])[:count]
        ranks.barrier()
        if ranks.is_first:
            self._tidy()
        self._put_average()
        self.hours = hours

    def _tidy(self) -> None:
        names = {name for _, name in self.best}
        for path in self.folder.glob("*.safetensors"):
            if path.name not in names:
                path.unlink()

    @torch.no_grad()
    def _put_average(self) -> None:
        """One file after the other: many large networks need not fit into memory together."""
        total: dict[str, Tensor] = {}
        for _, name in self.best:
            for key, values in load_file(self.folder / name).items():
                total[key] = total[key] + values if key in total else values.clone()
        self.network.load_weights({k: v / len(self.best) for k, v in total.items()})

    def state(self) -> dict[str, Any]:
        return {**super().state(), "best": [[min(w, 1e9), name] for w, name in self.best]}

    def files(self) -> list[Path]:
        return [self.folder / name for _, name in self.best]

    def load(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
        super().load(state, tensors, folder)
        best = state.get("best") or []
        self.best = [(math.inf if wer >= 1e9 else wer, name) for wer, name in best]
        self.is_begun = bool(self.best)
        if self.models.ranks.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            for _, name in self.best:
                link_or_copy(folder / name, self.folder / name)
            self._tidy()
        self.models.ranks.barrier()
        if self.best:
            self._put_average()


_OURS: dict[str, type[Teacher]] = {
    "ema": EmaTeacher,
    "student": StudentTeacher,
    "frozen": FrozenTeacher,
    "average_of_best": BestAverageTeacher,
    "file": FileTeacher,
}


def named_teacher(name: str) -> type[Teacher]:
    """One of ours."""
    return _OURS[name]


def teacher_class(config: Config) -> type[Teacher]:
    """What `pseudo_label.teacher` names. Raises UserError if it cannot be had."""
    return find_class("pseudo_label.teacher", config.pseudo_label.teacher, _OURS, Teacher)
