"""What a recipe's average and weight decay do, said before any hour is spent: a line each. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from asr.config.schema import Config
from asr.scaling.half_life import labelling_half_life, remaining_start
from asr.scaling.optimizers import OPTIMIZERS
from asr.scaling.rule import reference

_SMALLEST_SHOWN = 1e-3
_CONVENTIONS = {
    "midpoint": "the mean of the student's weights before and after its audio: where it is depends on kappa "
    "to second order only",
    "after": "the student's weights after its audio: it runs ahead by half an update, and so the more the "
    "larger kappa is (midpoint does not)",
    "before": "the student's weights before its audio: it lags by half an update, and so the more the larger "
    "kappa is (midpoint does not)",
}


def rule_notes(config: Config) -> list[str]:
    """The start that is left in the average when it begins to label; weight decay; what an update takes."""
    return [*_start(config), *_decay(config), _convention(config)]


def _start(config: Config) -> Iterator[str]:
    hours = config.pseudo_label.teacher_from_hours
    if hours is None or config.pseudo_label.teacher == "student":
        return  # the average does not label
    half_life = labelling_half_life(config.teacher, config.trainer.total_hours)
    share = remaining_start(half_life, hours)
    if config.keeps_its_start:
        source = "init_from" if config.init_from is not None else "the pretrained model"
        yield (
            f"average: it begins as the weights of {source}, and at {hours:g} h, where it begins to label, "
            f"{_percent(share)} of it is these, with a half-life of {half_life.at(0.0):g} h"
        )
        return
    if hours == 0.0:
        yield "average: it begins to label at 0 h, where it is the random start itself"
        return
    what = f"at {hours:g} h, where it begins to label, the random start "
    why = f"with a half-life of {half_life.at(0.0):g} h"
    if config.teacher.warmup_share:
        yield (
            f"average: {what}would be {_percent(share)} of a plain average {why}; of this one it is "
            f"nothing: until {half_life.warmup_end_hours:g} h the half-life is "
            f"{config.teacher.warmup_share:g} of the audio so far (teacher.warmup_share)"
        )
    elif config.teacher.bias_correction:
        yield (
            f"average: {what}would be {_percent(share)} of a plain average {why}; "
            "teacher.bias_correction takes it out, and leaves the first students in"
        )
    else:
        yield (
            f"average: {what}is {_percent(share)} of it {why}; teacher.bias_correction=true takes it out"
        )


def _decay(config: Config) -> Iterator[str]:
    optimizer, scaling = config.optimizer, config.scaling
    if not optimizer.weight_decay or not OPTIMIZERS[optimizer.kind].decay_is_decoupled:
        return
    at_reference = reference(config)
    shrinkage = f"{at_reference.learning_rate * at_reference.weight_decay:.3g}"
    if scaling.rule == "none":
        yield f"weight decay: {shrinkage} a step, whatever the batch (scaling.rule none)"
    elif scaling.weight_decay == "sqrt":
        yield (
            "weight decay: times sqrt(kappa) as scaling.weight_decay says, so that weights shrink by "
            f"{shrinkage} a reference batch of audio at every kappa"
        )
    else:
        yield (
            f"weight decay: not scaled (scaling.weight_decay none), so that weights shrink by {shrinkage} / "
            "sqrt(kappa) a reference batch of audio; sqrt keeps it"
        )


def _convention(config: Config) -> str:
    chosen = config.teacher.averaged_weights
    return f"average: an update takes {_CONVENTIONS[chosen]} (teacher.averaged_weights {chosen})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= _SMALLEST_SHOWN else "less than 0.1 %"
