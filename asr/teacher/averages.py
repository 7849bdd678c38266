"""All the averages that a run keeps: the one that labels, and the one that is evaluated and shipped.

They are the same, unless a recipe gives the second a half-life of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from asr.config.teacher import TeacherConfig
from asr.distributed.process_group import Ranks
from asr.distributed.shards import Shards
from asr.model.speech_model import SpeechModel
from asr.teacher.ema import WeightAverage
from asr.teacher.power_averages import FILE as POWER_FILE
from asr.teacher.power_averages import PowerAverages
from asr.teacher.student_samples import StudentSamples

_LABELLING, _SAMPLE = "labelling_average", "averaged_student"
FILES = (_LABELLING, _SAMPLE, POWER_FILE)
"""Of a checkpoint, beside teacher.safetensors."""


class Averages:
    """They are updated together, from the same samples of the student."""

    def __init__(
        self,
        config: TeacherConfig,
        new_network: Callable[[], SpeechModel],
        shards: Shards,
        ranks: Ranks,
        make_power_averages: Callable[[StudentSamples], PowerAverages] | None = None,
        labels_in: torch.dtype = torch.float32,
    ) -> None:
        """`new_network` makes another one of the student's shapes, on the CPU, weights unset.

        `labels_in`: the type of the weights that label (see WeightAverage).
        """
        self.samples = StudentSamples(shards, config.averaged_weights)
        self.power = make_power_averages(self.samples) if make_power_averages else None
        """For averages that are made after the run; None where nobody wants them."""
        self._is_power_new = True

        def new() -> WeightAverage:
            correction = config.bias_correction
            return WeightAverage(new_network(), self.samples, ranks, correction, labels_in)

        self.labelling = new()
        self.shipped = self.labelling if config.evaluation_half_life_hours is None else new()
        """Evaluated, and saved as teacher.safetensors."""

    def begin(self, hours: float) -> list[str]:
        """Training begins, or goes on, at an hour of audio. A collective. Returns lines for people."""
        return self.power.begin(hours, self._is_power_new) if self.power is not None else []

    def reset_to_student(self) -> None:
        """All begin anew, as the student is."""
        self.labelling.reset_to_student()
        self.shipped.reset_to_student()

    def keep_start(self) -> None:
        """The run began with trained weights: all begin as these, with weight 1."""
        self.labelling.keep_start()
        self.shipped.keep_start()

    def is_finite(self) -> bool:
        """Whether all are. A collective."""
        labelling, shipped = self.labelling.is_finite(), self.shipped.is_finite()
        return labelling and shipped

    def update(
        self, momentum: float, evaluation_momentum: float, span_hours: tuple[float, float]
    ) -> None:
        """An update that is due: scaling.TeacherUpdate's momenta and span of audio."""
        sample = list(self.samples.take())
        if self.power is not None:
            self.power.update(*span_hours, sample)
        self.labelling.update(momentum, sample)
        if self.shipped is not self.labelling:
            self.shipped.update(evaluation_momentum, sample)
        self.samples.settle()

    def state(self) -> dict[str, Any]:
        """Plain numbers for state.json."""
        return {
            "has_bias_correction": self.labelling.has_bias_correction,
            "labelling_start_weight": self.labelling.start_weight,
            "shipped_start_weight": self.shipped.start_weight,
            "power": self.power.state() if self.power else None,
        }

    def tensors(self, is_amid_interval: bool) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint needs besides the shipped average and the student, by the name of its file.

        Copies, on the first rank. A collective. `is_amid_interval`: audio was consumed since the last
        update, so that the student is not what that took any more.
        """
        found = {_SAMPLE: self.samples.tensors()} if is_amid_interval else {}
        if self.shipped is not self.labelling:
            found[_LABELLING] = self.labelling.whole()
        if self.power is not None:
            found[POWER_FILE] = self.power.tensors()
        return found

    def load(
        self,
        shipped: Mapping[str, Tensor],
        state: Mapping[str, Any] | None,
        read: Callable[[str], Mapping[str, Tensor]],
    ) -> list[str]:
        """Go on from a checkpoint; returns notes for people.

        `state` is None in those of the first versions, which corrected no bias. A plain average goes on as it
        is: what its start weighs in it is not to be taken out of what comes.
        """
        state, notes = state or {}, []
        is_plain = not state.get("has_bias_correction", False)
        if is_plain:
            state = {**state, "labelling_start_weight": 0.0, "shipped_start_weight": 0.0}
        if is_plain and self.labelling.has_bias_correction:
            notes.append(
                "the checkpoint's average was kept without teacher.bias_correction: it goes on, and what its "
                "start weighs in it fades by the half-life"
            )
        labelling = read(_LABELLING)
        self.labelling.load(labelling or shipped)
        self.labelling.start_weight = state["labelling_start_weight"]
        if self.shipped is not self.labelling:
            self.shipped.load(shipped)
            self.shipped.start_weight = state["shipped_start_weight"]
        self.samples.load(read(_SAMPLE))
        if self.power is not None and state.get("power"):
            self.power.load(state["power"], read(POWER_FILE))
            self._is_power_new = False
        return notes
