"""All the averages that a run keeps: the one that labels, and the one that is evaluated and shipped.

They are the same, unless a recipe gives the second a half-life of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from asr.config.schema import TeacherConfig
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.model.acoustic_model import AcousticModel
from asr.teacher.ema import WeightAverage
from asr.teacher.student_samples import StudentSamples

_LABELLING, _SAMPLE = "labelling_average", "averaged_student"
"""Files of a checkpoint, beside teacher.safetensors."""


class Averages:
    """They are updated together, from the same samples of the student."""

    def __init__(
        self,
        config: TeacherConfig,
        new_network: Callable[[], AcousticModel],
        shards: Shards,
        ranks: Ranks,
    ) -> None:
        """`new_network` makes another one of the student's shapes, on the CPU, weights unset."""
        self.samples = StudentSamples(shards, config.averaged_weights)

        def new() -> WeightAverage:
            return WeightAverage(new_network(), self.samples, ranks, config.bias_correction)

        self.labelling = new()
        self.shipped = self.labelling if config.evaluation_half_life_hours is None else new()
        """Evaluated, and saved as teacher.safetensors."""

    def update(self, momentum: float, evaluation_momentum: float) -> None:
        """An update that is due; the momenta are scaling.TeacherUpdate's."""
        sample = self.samples.take()
        self.labelling.update(momentum, sample)
        if self.shipped is not self.labelling:
            self.shipped.update(evaluation_momentum, sample)
        self.samples.settle()

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        return {
            "labelling_start_weight": self.labelling.start_weight,
            "shipped_start_weight": self.shipped.start_weight,
        }

    def tensors(self, is_amid_interval: bool) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint needs besides the shipped average and the student, by the name of its file.

        A collective. `is_amid_interval`: audio was consumed since the last update, so that the student is not
        what that took any more.
        """
        found = {_SAMPLE: self.samples.tensors()} if is_amid_interval else {}
        if self.shipped is not self.labelling:
            found[_LABELLING] = self.labelling.weights()
        return found

    def load(
        self,
        shipped: Mapping[str, Tensor],
        state: Mapping[str, Any] | None,
        read: Callable[[str], Mapping[str, Tensor]],
    ) -> None:
        """Go on from a checkpoint. `state` is None in those of the first versions, which corrected no bias."""
        state = state or {"labelling_start_weight": 0.0, "shipped_start_weight": 0.0}
        labelling = read(_LABELLING)
        self.labelling.load(labelling or shipped)
        self.labelling.start_weight = state["labelling_start_weight"]
        if self.shipped is not self.labelling:
            self.shipped.load(shipped)
            self.shipped.start_weight = state["shipped_start_weight"]
        self.samples.load(read(_SAMPLE))
