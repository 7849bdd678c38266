"""What a rank finds out about LARS, beside its formula in float64. As a script: one rank's part of a case."""

from __future__ import annotations

from typing import Any

import torch
from engine_helpers import PRECISIONS_AND_STAGES, answer, tiny_config, tiny_engine, update
from torch import Tensor

from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks

RATE, TRUST, DECAY, MOMENTUM, STEPS = 2.0, 0.01, 0.1, 0.9, 3


def weights_of(engine: Engine) -> dict[str, Tensor]:
    return {name: w.clone() for name, w in engine.shards.gather(engine.shards.masters)}


def distances(ranks: Ranks) -> dict[str, float]:
    """Of some steps of LARS from those of its formula, over their length; by precision and stage.

    The formula's gradients are those of a step of SGD from the same weights.
    """
    common: dict[str, Any] = {"learning_rate": RATE, "max_gradient_norm": 0.0}
    lars = {"kind": "lars", "momentum": MOMENTUM, "weight_decay": DECAY, "trust_coefficient": TRUST}
    found = {}
    for precision, stage in PRECISIONS_AND_STAGES:
        engine = tiny_engine(tiny_config(precision, stage, optimizer={**lars, **common}), ranks)
        plain = tiny_engine(
            tiny_config(
                precision, stage, optimizer={"kind": "sgd", **common, "learning_rate": 1.0}
            ),
            ranks,
        )
        velocity: dict[str, Tensor] = {}
        far = moved = 0.0
        for seed in range(STEPS):
            before = weights_of(engine)
            plain.shards.scatter(before, [one.detach() for one in plain.shards.masters])
            plain.masters_changed()
            assert update(plain, seed)
            assert update(engine, seed)
            after = weights_of(engine)
            for name, end in weights_of(plain).items():
                weight, gradient = before[name].double(), (before[name].double() - end.double())
                if weight.dim() > 1:
                    gradient += DECAY * weight
                    if weight.norm() > 0 and gradient.norm() > 0:
                        gradient *= TRUST * weight.norm() / gradient.norm()
                velocity[name] = MOMENTUM * velocity.get(name, torch.zeros(())) + gradient
                step = -RATE * velocity[name]
                far += float((after[name].double() - weight - step).square().sum())
                moved += float(step.square().sum())
        found[f"{precision} {stage}"] = (far / moved) ** 0.5
    return found


if __name__ == "__main__":
    answer(globals())
