"""A training step on a device that is not the CPU's: no mix-up, and the host seldom waits for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from far_device import FAR, Far, far_device, moved
from torch import Tensor

from asr.config.recipe import parse_config
from asr.config.schema import Config
from asr.data.loading.micro_batch import MicroBatch
from asr.data.segments import Kind, Segment
from asr.distributed.process_group import Ranks
from asr.model.features import FeatureExtractor
from asr.model.make import make_front_end, make_model
from asr.training.batch_stats import BatchStats
from asr.training.objectives.texts import TextObjective
from asr.training.train_step import TrainStep
from asr.utils.devices import fetched

WAITS_A_MICRO_BATCH = 1
"""For the losses and what the student says, together."""
ALONE = Ranks(0, 1, torch.device("cpu"))
TARGETS = [[1, 2], [3], [4, 4]]
MODEL = {
    **{"width": 16, "heads": 2, "layers": 2, "feed_forward_width": 32, "norm": "pre"},
    **{"positions": "rotary", "convolution_kernel": 7, "dropout": 0.1, "layer_drop": 0.3},
}


def a_config() -> Config:
    masks = {"start_hours": 0, "time_masks": 2, "time_mask_frames": 10}
    tree = {"model": MODEL, "batch": {"batch_seconds": 20}}
    return parse_config({**tree, "augmentation": {"spec_augment": masks}}, "test")


class Step:
    """A student's forward and backward passes, where it is."""

    def __init__(
        self, config: Config, device: torch.device, labeler: Any = None, ranks: Ranks = ALONE
    ) -> None:
        torch.manual_seed(1)
        network, is_far = make_model(config, 12).train(), device == FAR
        front_end = make_front_end(config, network.encoder)
        self.network = moved(network) if is_far else network
        features = FeatureExtractor(moved(front_end) if is_far else front_end, False, device)
        engine: Any = SimpleNamespace(student=self.network, logits=self.network, is_cut=False)
        weight = config.pseudo_label.loss_weight
        objective = TextObjective(ranks, self.network.criterion, labeler, weight)
        self.train_step = TrainStep(config, engine, features, ranks, objective)
        self.stats = BatchStats()

    def loss(self, kinds: list[Kind]) -> float:
        given = self.train_step._given(micro_batch(kinds), (0, 0), 1.0)
        loss = self.train_step.objective.loss(given, self.stats)
        loss.backward()
        return float(loss.near if isinstance(loss, Far) else loss)


def micro_batch(kinds: list[Kind]) -> MicroBatch:
    segments = [Segment(kind, place, 0, 1.0 + place / 4) for place, kind in enumerate(kinds)]
    samples_B = torch.tensor([int(16_000 * one.seconds) for one in segments])
    draws = torch.Generator().manual_seed(2)
    waveforms_BN = torch.randn(len(kinds), int(samples_B.max()), generator=draws)
    targets = [own if k is Kind.LABELLED else [] for own, k in zip(TARGETS, kinds, strict=True)]
    present = tuple(kind for kind in Kind if kind in kinds)
    ids = [f"u{place}" for place in range(len(kinds))]
    audio = waveforms_BN, samples_B
    return MicroBatch(present, True, segments, ids, audio, None, targets, [""] * len(kinds))


def some_labels() -> Any:
    return SimpleNamespace(
        targets=lambda part, frames: (TARGETS[: len(part.ids)], [0], [None] * len(part.ids)),
        compare=lambda *_: None,
    )


@pytest.mark.parametrize(
    "kinds",
    [[Kind.LABELLED] * 3, [Kind.LABELLED, Kind.UNTRANSCRIBED, Kind.UNTRANSCRIBED]],
    ids=["transcripts", "both kinds"],
)
def test_a_step_computes_there_what_it_computes_here(kinds: list[Kind]) -> None:
    config = a_config()
    with far_device() as waits:
        there = Step(config, FAR, some_labels())
        waits.clear()
        loss = there.loss(kinds)
        seen = list(waits)
    here = Step(config, torch.device("cpu"), some_labels())
    print(f"waits of a micro-batch: {len(seen)} ({', '.join(seen)})")
    assert len(seen) <= WAITS_A_MICRO_BATCH
    # Dropout is drawn for the micro-batch on a GPU, and for each utterance here: compared without.
    config = config.model_copy(update={"model": config.model.model_copy(update={"dropout": 0.0})})
    with far_device():
        loss = Step(config, FAR, some_labels()).loss(kinds)
    here = Step(config, torch.device("cpu"), some_labels())
    assert loss == pytest.approx(here.loss(kinds), rel=1e-5)


class Alert(Ranks):
    """One of two, who says that somebody asks for the other."""

    def __getattribute__(self, name: str) -> Any:
        assert name not in ("sum", "add_up", "gather", "collect", "barrier"), name
        return super().__getattribute__(name)


def test_no_rank_waits_for_another_before_the_backward_pass() -> None:
    """But under ZeRO 3, where the forward pass itself does."""
    step = Step(a_config(), torch.device("cpu"), some_labels(), Alert(0, 2, torch.device("cpu")))
    kinds = [Kind.LABELLED, Kind.LABELLED, Kind.UNTRANSCRIBED]
    assert step.loss(kinds) > 0
    with torch.no_grad():  # nor where its own loss is not finite
        next(iter(step.network.parameters())).fill_(torch.nan)
    step.loss(kinds)
    assert step.stats.non_finite == 3
    step.train_step.engine.is_cut = True
    with pytest.raises(AssertionError, match="sum"):
        step.loss(kinds)


def test_a_mix_up_fails_here() -> None:
    with far_device() as waits:
        far, near = Far(torch.ones(3)), torch.ones(3)
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            _ = far + near
        total: Tensor = (far + near.to(FAR, non_blocking=True)).sum()
        assert not waits
        assert total.item() == 6.0
        assert waits == ["_local_scalar_dense"]
        assert far[[0, 2]].near.tolist() == [1.0, 1.0]
        _ = near.to(FAR), far.to("cpu")
        assert waits[1:] == ["tensor", "_to_copy", "_to_copy"]
        early, late = fetched(far, total)
        assert (early.tolist(), late.tolist()) == ([1.0] * 3, 6.0)
        assert len(waits) == 5
