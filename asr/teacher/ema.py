"""The teacher: an fp32 exponential moving average of the student's fp32 master weights.

It is always in evaluation mode and receives clean speech. An average in bf16 would stall at a momentum near 1,
so average and source are fp32 whatever the engine's precision. Each rank averages the part of the weights
that it owns, so an update communicates nothing; the copy that labels is put together when somebody wants to
label with an average that has moved. With bf16 weights in training that copy is bf16, too: it labels in the
arithmetic that the student trains in, and ranks send half. What is evaluated and saved is fp32.

It starts as a copy of the student, which is mostly noise then. A warm-up (asr/scaling/half_life.py) leaves
nothing of it. With bias correction, for an average that begins later, as after a reset, the weight w of that
start is known and taken out: (plain average - w start) / (1 - w), as Adam does with its moments (Kingma & Ba
2015, section 3), kept up without a copy of the start. Where it begins as a trained model (`init_from`), the
start is worth keeping: it has no warm-up then, and none of the start is taken out.

Buffers: the model has none that training changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from asr.distributed.process_group import Ranks
from asr.distributed.shards import copies
from asr.model.speech_model import SpeechModel
from asr.teacher.student_samples import StudentSamples


class WeightAverage:
    """The average, and a model to label with."""

    def __init__(
        self,
        network: SpeechModel,
        samples: StudentSamples,
        ranks: Ranks,
        has_bias_correction: bool = False,
        labels_in: torch.dtype = torch.float32,
    ) -> None:
        """Start as the student is; `network` is a module of its shapes, which becomes the teacher's own.

        `labels_in`: the type of the weights that label; fp32 at ZeRO 0.
        """
        self.samples, self.shards, self.ranks = samples, samples.shards, ranks
        self.has_bias_correction = has_bias_correction
        self.start_weight = 1.0
        """Of the weights at its start in a plain average: the product of the momenta since."""
        self._model = network.float().to(ranks.device).eval().requires_grad_(False)
        self._labels_in = labels_in
        self._buffers: list[Tensor] = []
        """In fp32, on the CPU, where the model's are not."""
        if labels_in != torch.float32:
            self._buffers = [buffer.to("cpu", copy=True) for buffer in self._model.buffers()]
            self._model.to(labels_in)
        if self.shards.is_sharded:
            self._average = self.shards.copy_of_masters()
        else:  # the model that labels is the average
            self._average = [parameter.data for parameter in self._model.parameters()]
            self.reset_to_student()
        self._moved = True

    @torch.no_grad()
    def update(self, momentum: float, sample: Sequence[Tensor]) -> None:
        """average <- momentum * average + (1 - momentum) * sample, on the shard that this rank owns.

        `momentum` is scaling.TeacherSchedule's, from the audio since the last update; `sample` is
        StudentSamples'. With bias correction the new weight is (1 - momentum) / (1 - w), w being the start's
        weight after the update: the first update replaces the start.
        """
        self.start_weight *= momentum
        divisor = 1.0 - self.start_weight if self.has_bias_correction else 1.0
        share = (1.0 - momentum) / divisor if divisor > 0.0 else 0.0
        torch._foreach_lerp_(self._average, list(sample), share)
        self._moved = True

    @torch.no_grad()
    def model(self) -> SpeechModel:
        """The model to label with, up to date. A collective under ZeRO 1 to 3."""
        if self._moved and self.shards.is_sharded:
            parameters = dict(self._model.named_weights())
            for name, values in self.shards.gather(self._average, self._labels_in):
                parameters[name].copy_(values)
        self._moved = False
        return self._model

    @contextmanager
    def evaluating(self) -> Iterator[SpeechModel]:
        """The model in fp32, as it is saved. A collective under ZeRO 1 to 3."""
        if self._labels_in == torch.float32:
            yield self.model()
            return
        parameters, buffers = dict(self._model.named_weights()), list(self._model.buffers())
        with torch.no_grad():
            for name, values in self.shards.gather(self._average):
                parameters[name].data = values.clone()
        for buffer, whole in zip(buffers, self._buffers, strict=True):
            buffer.data = whole.to(buffer.device)
        try:
            yield self._model
        finally:
            self._model.to(self._labels_in)
            self._moved = False

    def weights(self) -> dict[str, Tensor]:
        """The whole average by name, in fp32, on the CPU. A collective under ZeRO 1 to 3."""
        return copies(self.shards.gather(self._average))

    def whole(self) -> dict[str, Tensor]:
        """The same on the first rank; nothing on the others. A collective under ZeRO 1 to 3."""
        return self.shards.whole(self._average)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from what `weights` returned, on whatever ranks and at whatever ZeRO stage."""
        self._model.load_weights(weights)
        self.shards.scatter(weights, self._average)
        self._moved = False

    @property
    def average(self) -> list[Tensor]:
        """This rank's shard of it. Who writes to it says `moved`."""
        return self._average

    def moved(self) -> None:
        """The model that labels must be put together again."""
        self._moved = True

    def is_finite(self) -> bool:
        """Whether the whole average is. A collective."""
        total = torch.stack([(~a.isfinite()).sum() for a in self._average]).sum()
        return not self.ranks.sum([float(total)])[0]

    @torch.no_grad()
    def reset_to_student(self) -> None:
        """Be as the student is, and begin anew."""
        for average, master in zip(self._average, self.shards.masters, strict=True):
            average.copy_(master.detach())
        self.samples.settle()
        self.start_weight, self._moved = 1.0, True

    def keep_start(self) -> None:
        """The weights at its start are trained ones: they stay, and fade by the half-life."""
        self.start_weight = 0.0  # none of it is to be taken out

    @torch.no_grad()
    def distance(self) -> float:
        """Norm of (average - student) over norm of the student. A collective."""
        pairs = list(zip(self._average, self.shards.masters, strict=True))
        sums = [
            torch.stack(values).double().sum()
            for values in (
                [(average - master).square().sum() for average, master in pairs],
                [master.square().sum() for _, master in pairs],
            )
        ]
        # One wait for the device.
        difference, norm = self.ranks.sum(
            torch.stack(sums).tolist()
        )  # of replicas at stage 0: the ratio is the same
        return (difference / norm) ** 0.5 if norm else 0.0
