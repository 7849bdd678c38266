"""Whole trainings on a device that is not the CPU's: its numbers, its waits, and what waits for other ranks."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import final, losses, read_lines, relative_distance
from far_device import FAR, far_device, touched, waits
from far_modules import BY_TRAININGS

import asr
from asr.config.pseudo_label import HealthConfig
from asr.data.segments import Kind, Segment
from asr.distributed.engine import Engine
from asr.distributed.process_group import Ranks, join
from asr.pseudo_labels.sharing.exchange import BatchNotes
from asr.training.trainer import Trainer

CPU = torch.device("cpu")
A_MICRO_BATCH, A_STEP = 1, 3
"""Waits for the device, at most."""
LABELLING = 2
"""Beside them, where a teacher labels a micro-batch greedily."""
EVERYTHING: dict[str, Any] = {
    "model.dropout": 0,  # on a GPU it is not drawn for each utterance
    "augmentation.speed_factors": [1.0],
    "pseudo_label.start_hours": 0.004,
    "pseudo_label.health.action": "rollback",
    "pseudo_label.health.snapshot_hours": 0.005,
    "teacher.keep_for_average": True,
    "teacher.evaluation_half_life_hours": 0.02,
    "trainer.noise_scale_every_batches": 1,
    "trainer.activation_checkpointing": True,
    "trainer.evaluation_every_hours": 10,
    "trainer.checkpoint_every_hours": 10,
}
NOTHING_RARE: dict[str, Any] = {
    "trainer.noise_scale_every_batches": 0,
    "teacher.keep_for_average": False,
    "pseudo_label.health.action": "warn",
}
"""What is not done in every update."""


CACHE = {"pseudo_label.schedule": "cache", "pseudo_label.cache.capacity_utterances": 4}
OFTEN = {"trainer.evaluation_every_hours": 0.006}
SAMPLES = {"pseudo_label.decision": "sample"}


def trained(recipe: Path, run: Path, device: torch.device, **settings: Any) -> Trainer:
    config = asr.load_config(recipe, {**EVERYTHING, "output": str(run), **settings})
    join("highest")
    trainer = Trainer(config, Ranks(0, 1, device))
    run.mkdir(exist_ok=True)
    (run / "config.yaml").touch()
    assert trainer.train()
    return trainer


@contextmanager
def marked() -> Iterator[None]:
    """Notes among the waits where a batch begins, a backward pass and a step."""
    with mock.patch.multiple(
        Engine, **{name: _noting(name) for name in ("begin_batch", "backward", "step")}
    ):
        yield


def _noting(name: str) -> Any:
    real = getattr(Engine, name)

    def noted(*given: Any, **options: Any) -> Any:
        waits.append(name.upper())
        return real(*given, **options)

    return noted


def of_batches(events: list[str]) -> Iterator[tuple[list[list[str]], list[str]]]:
    """Of each update the waits of its micro-batches, and those of its step and what follows it."""
    starts = [place for place, one in enumerate(events) if one == "BEGIN_BATCH"]
    for begin, end in zip(starts, [*starts[1:], len(events)], strict=True):
        parts, own = list[list[str]](), list[str]()
        for one in events[begin + 1 : end]:
            if one == "BACKWARD":
                parts.append(own)
                own = []
            else:
                own.append(one)
        yield parts, [one for one in own if one != "STEP"]


def test_a_training_there_is_one_here_and_goes_on(recipe: Path, tmp_path: Path) -> None:
    runs = {}
    for device in (CPU, FAR):
        with far_device() if device == FAR else nullcontext():
            run = runs[device] = tmp_path / device.type
            trained(recipe, run, device, **{"trainer.total_hours": 0.012})
            trained(recipe, run, device, **{"trainer.total_hours": 0.016})
    here, there = runs[CPU], runs[FAR]
    assert losses(there) == pytest.approx(losses(here), rel=1e-4)
    for name in ("student", "teacher", "power_averages", "labelling_average"):
        left, right = (final(run) / f"{name}.safetensors" for run in (here, there))
        assert relative_distance(left, right) < 1e-4, name
    measures = ("wer", "dev_loss", "gradient_noise_scale_seconds", "pseudo_label_confidence")
    for one, other in zip(
        *(read_lines(run / "metrics.jsonl") for run in runs.values()), strict=True
    ):
        for name in measures:
            if one.get(name) is not None:
                assert other[name] == pytest.approx(one[name], rel=1e-3), name


@pytest.mark.parametrize(
    "objective",
    [
        {"kind": "latent", "latent": {"top_blocks": 2}},
        {"kind": "byol", "byol": {"hidden_width": 64, "projection_width": 16}},
    ],
    ids=["latent", "byol"],
)
def test_training_without_texts_there_is_what_it_is_here(
    objective: dict[str, Any], recipe: Path, tmp_path: Path
) -> None:
    settings = {
        "objective": objective,
        "pseudo_label.start_hours": None,
        "trainer.total_hours": 0.012,
        "trainer.evaluation_every_hours": 0.008,
        "optimizer.kind": "lars",
        "optimizer.momentum": 0.9,
    }
    runs = {}
    for device in (CPU, FAR):
        with far_device() if device == FAR else nullcontext(), marked():
            waits.clear()
            runs[device] = tmp_path / device.type
            trained(recipe, runs[device], device, **settings, **NOTHING_RARE)
            parts = [part for own, _ in of_batches(waits) for part in own]
    assert max(map(len, parts)) <= A_MICRO_BATCH
    here, there = runs[CPU], runs[FAR]
    assert losses(there) == pytest.approx(losses(here), rel=1e-4)
    last = [
        [line for line in read_lines(run / "metrics.jsonl") if "set" in line][-1]
        for run in (here, there)
    ]
    for name in ("dev_loss", "effective_rank", "target_variance"):
        assert last[1][name] == pytest.approx(last[0][name], rel=1e-3), name


@pytest.mark.parametrize("stage", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_the_host_seldom_waits(stage: int, recipe: Path, tmp_path: Path) -> None:
    settings = {"trainer.total_hours": 0.02, "trainer.zero_stage": stage}
    with far_device(), marked():
        trained(recipe, tmp_path / "run", FAR, **settings, **NOTHING_RARE)
        updates = list(of_batches(waits))
    parts = [part for own, _ in updates for part in own]
    # After the last one all is saved, and before labels begin a dev set is read.
    steps = [rest for _, rest in updates[:-1] if not any("validation" in one for one in rest)]
    print(
        f"waits of micro-batches: {[len(part) for part in parts]}: {Counter(itertools.chain(*parts))}"
    )
    print(f"of steps: {[len(rest) for rest in steps]}: {Counter(itertools.chain(*steps))}")
    assert len(updates) > 3
    for part in parts:
        labelled = [one for one in part if "pseudo_labels" in one]
        assert len(labelled) <= LABELLING
        assert len(part) - len(labelled) <= A_MICRO_BATCH
    assert any("pseudo_labels" in one for part in parts for one in part)
    assert max(map(len, steps)) <= A_STEP


@pytest.mark.parametrize(
    "settings",
    [
        {"pseudo_label.teacher": "frozen", **CACHE},
        pytest.param({"pseudo_label.teacher": "average_of_best", **OFTEN}, marks=pytest.mark.slow),
        pytest.param({"pseudo_label.teacher": "student", **SAMPLES}, marks=pytest.mark.slow),
    ],
    ids=["frozen, cache", "average of best", "student, samples"],
)
def test_other_teachers_label_there(settings: dict[str, Any], recipe: Path, tmp_path: Path) -> None:
    with far_device():
        run = tmp_path / "run"
        trained(recipe, run, FAR, **{"trainer.total_hours": 0.016, **NOTHING_RARE, **settings})
    assert any(line.get("loss_pseudo_labelled") for line in read_lines(run / "metrics.jsonl"))


def test_what_ranks_tell_each_other_is_sent_and_fetched_once() -> None:
    join("highest")
    with far_device():
        ranks = Ranks(0, 2, FAR)  # alone in its group: the sum is its own
        assert ranks.sum([1.5, 2.0]) == [1.5, 2.0]
        assert len(waits) == 1
        waits.clear()
        notes = BatchNotes()
        notes.begin([Segment(Kind.UNTRANSCRIBED, 0, 0, 1.0)])
        assert notes.share(ranks, (HealthConfig(), 1.0), True).labelled == []
        assert len(waits) == 1


def test_these_modules_were_gone_through(request: pytest.FixtureRequest) -> None:
    here = [item for item in request.session.items if item.path == request.path]
    if len(here) < 5:
        pytest.skip("not all trainings were run")
    assert set(BY_TRAININGS) - touched == set()
