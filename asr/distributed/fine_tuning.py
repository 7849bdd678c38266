"""Which of a pretrained student's weights learn together: from which hour on, and at which learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from asr.config.schema import Config
from asr.model.encoder_decoder.ctc_head import PREFIX as CTC_HEAD
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.encoders.pretrained import PretrainedEncoder
from asr.model.speech_model import SpeechModel


@dataclass(frozen=True)
class FineTuning:
    """All weights begin at hour 0 and learn at one rate, if it says nothing else."""

    layer_decay: float = 1.0
    """Learning rate of a layer as a share of that of the layer above (Clark et al. 2020, arXiv 2003.10555)."""
    head_factor: float = 1.0
    """Learning rate of the head over that of the encoder's top."""
    encoder_from_hours: float = 0.0
    """Until then the encoder's weights stay as they are, its front end's with them."""
    front_end_from_hours: float = 0.0
    """The same for its front end; infinite for ever."""
    warmup_hours: float = 0.0
    """Linear warm-up of what begins later than the run: Adam's moments of it begin then, too."""

    @classmethod
    def of(cls, config: Config) -> FineTuning:
        """What a recipe says. Of a model that is not pretrained it says nothing."""
        front_end = getattr(config.model, "freeze_front_end_until_hours", 0.0)
        return cls(
            layer_decay=getattr(config.model, "layer_decay", 1.0),
            head_factor=getattr(config.model, "head_learning_rate_factor", 1.0),
            encoder_from_hours=getattr(config.model, "freeze_encoder_until_hours", 0.0),
            front_end_from_hours=math.inf if front_end == "always" else front_end,
            warmup_hours=config.optimizer.warmup_hours,
        )

    def groups(self, student: SpeechModel) -> list[dict[str, Any]]:
        """The optimizer's groups: an hour of beginning and a share of the learning rate each."""
        found: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in student.named_weights():
            found.setdefault(self._place(student, name), []).append(parameter)
        return [
            {"params": parameters, "from_hours": hours, "factor": factor}
            for (hours, factor), parameters in found.items()
        ]

    def _place(self, student: SpeechModel, name: str) -> tuple[float, float]:
        encoder = student.encoder
        if not isinstance(encoder, PretrainedEncoder):
            return 0.0, 1.0
        if name.startswith(("head.", f"{CTC_HEAD}.")):
            return 0.0, self.head_factor
        if isinstance(student, EncoderDecoder) and name.startswith("decoder."):
            decoder = student.decoder
            depth = decoder.depth(name.removeprefix("decoder."))
            return 0.0, self.layer_decay ** (len(decoder.layers) + 1 - depth)
        depth = encoder.depth(name.removeprefix("encoder."))  # an encoder-decoder's names begin so
        hours = self.encoder_from_hours
        if depth == 0:
            hours = max(hours, self.front_end_from_hours)
        return hours, self.layer_decay ** (encoder.layers + 1 - depth)

    def enter(self, student: SpeechModel, optimizer: torch.optim.Optimizer, hours: float) -> None:
        """Freeze what has not begun at `hours` of audio; the rest has its share of the learning rate."""
        if isinstance(student.encoder, PretrainedEncoder):
            student.encoder.freeze(
                front_end=hours < max(self.front_end_from_hours, self.encoder_from_hours),
                layers=hours < self.encoder_from_hours,
            )
        for group in optimizer.param_groups:
            since = hours - group["from_hours"]
            group["is_frozen"] = since < 0
            is_warming = group["from_hours"] > 0 and 0 <= since < self.warmup_hours
            group["share"] = group["factor"] * (since / self.warmup_hours if is_warming else 1.0)


@contextmanager
def without_steps(optimizer: torch.optim.Optimizer, of_all: bool) -> Iterator[None]:
    """Let whoever asks the optimizer to step believe that it did: with all its groups, or the frozen ones."""
    step = optimizer.step

    def step_others(closure: Any = None) -> None:
        groups = optimizer.param_groups
        optimizer.param_groups = [] if of_all else [g for g in groups if not g["is_frozen"]]
        try:
            if optimizer.param_groups:
                step()
        finally:
            optimizer.param_groups = groups

    optimizer.step = step_others  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del optimizer.step
