"""Representations that collapse: noticed, said, and undone or the end of the run, as the recipe wants it."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from conftest import PLAIN, final, read_lines, same_weights, without_wall_time
from latent_helpers import LATENT, SETTINGS

from asr.config.objective import CollapseConfig
from asr.config.recipe import load_config
from asr.data.transcripts import training_tokenizer
from asr.distributed.process_group import Ranks
from asr.errors import CollapseError
from asr.model.make import make_front_end, make_model
from asr.training.guards.collapse import CollapseGuard
from asr.training.objectives.kinds import make_dev_sets
from asr.training.validation.representations import RepresentationDevSets
from asr.utils.files import read_json

HEALTHY = {"target_variance": 0.9, "prediction_variance": 0.2, "dead_share": 0.0}
CONSTANT = {"target_variance": 0.0, "prediction_variance": 0.2, "dead_share": 0.0}
DEAD = {"target_variance": 0.9, "prediction_variance": 0.2, "dead_share": 1.0}
SILENT = {"target_variance": 0.9, "prediction_variance": 0.0, "dead_share": 0.0}


def guard(recipe: Path, *settings: str, **policy: Any) -> CollapseGuard:
    ranks = SimpleNamespace(is_first=True)
    models: Any = SimpleNamespace(config=load_config(recipe, [*LATENT, *settings]), ranks=ranks)
    if policy.get("action") == "rollback":
        average = MagicMock(average=[torch.zeros(1)])
        models.average, models.averages = average, MagicMock(labelling=average, shipped=average)
        models.engine = MagicMock()
        models.engine.shards.masters = [torch.zeros(1)]
    return CollapseGuard(CollapseConfig(**policy), models)


def settle(
    watch: CollapseGuard, hours: float, metrics: dict[str, float] = HEALTHY, updates: int = 10
) -> None:
    """Updates enough to judge by."""
    for _ in range(updates):
        watch.watch(metrics, hours, 15.0)


@pytest.mark.parametrize("seconds", [7.5, 15.0, 120.0])
@pytest.mark.parametrize(
    ("collapsed", "said"),
    [(CONSTANT, "targets"), (SILENT, "predictions"), (DEAD, "frames say nothing")],
    ids=["targets", "predictions", "frames"],
)
def test_it_is_said_once_and_soon_at_any_batch(
    recipe: Path, seconds: float, collapsed: dict[str, float], said: str
) -> None:
    watch, hours = guard(recipe), 0.0
    lines: list[tuple[float, str]] = []
    for metrics, count in ((HEALTHY, 40), (collapsed, 50), (HEALTHY, 20)):
        for _ in range(count):
            hours += seconds / 3600
            lines += [(hours, line) for line in watch.watch(metrics, hours, seconds)]
    (when, warning), (_, remedy), (_, healthy) = lines
    assert "representations have collapsed" in warning
    assert said in warning
    assert "objective.latent.health" in warning
    assert "teacher.half_life_hours" in remedy
    assert "healthy again" in healthy
    assert when * 3600 <= 40 * seconds + 50 * 15, "50 reference batches"


def test_of_two_views_it_is_said_where_the_recipe_has_it(recipe: Path) -> None:
    watch = guard(recipe, "objective=byol")
    settle(watch, 1.0, CONSTANT, 9)
    assert watch.ill == ["signs"]
    [fault] = watch.signs.faults(watch.policy, watch.settings)
    assert "objective.byol.health.min_target_variance" in fault
    assert "augmentation.spec_augment" in watch.remedy


def test_a_flat_output_is_said_at_evaluations_and_does_not_end_with_the_next_update(
    recipe: Path,
) -> None:
    watch = guard(recipe)
    assert not watch.evaluated(7.0, 1.0)
    assert "effective rank of 1.20" in watch.evaluated(1.2, 2.0)[0]
    assert not watch.watch(HEALTHY, 2.1, 15.0)
    assert not watch.evaluated(1.3, 3.0)
    assert "healthy again" in watch.evaluated(5.0, 4.0)[0]


def test_a_run_may_end_by_it_and_not_within_its_grace(recipe: Path) -> None:
    watch = guard(recipe, action="stop", grace_hours=1.0)
    for _ in range(50):
        assert not watch.watch(CONSTANT, 0.5, 15.0)
    with pytest.raises(CollapseError, match="representations have collapsed: targets") as told:
        watch.watch(CONSTANT, 1.1, 15.0)
    assert guard(recipe, action="stop").watch(CONSTANT, 1.1, 15.0) == [], "of one update"
    assert "mask more" in told.value.remedy


def test_a_state_is_healthy_by_signs_and_by_rank_where_there_are_dev_sets(recipe: Path) -> None:
    watch = guard(recipe, action="rollback", snapshot_hours=1.0)
    (weight,) = watch.models.engine.shards.masters
    for hours, rank in ((1.0, 9.0), (2.0, 9.0), (3.0, 9.0)):
        weight.fill_(hours)
        settle(watch, hours)
        watch.evaluated(rank, hours)
    settle(watch, 3.9)  # the signs see nothing of it
    weight.fill_(3.9)
    assert "put back" in watch.evaluated(1.0, 4.0)[-1]
    assert weight.item() == 2.0, "the last but one that an evaluation found healthy"
    settle(watch, 5.5)
    with pytest.raises(CollapseError, match="going back has not helped"):
        watch.evaluated(1.0, 6.0)
    settle(watch, 6.5)
    watch.evaluated(9.0, 7.0)
    assert "put back" in watch.evaluated(1.0, 8.0)[-1], "it had helped"


def test_without_dev_sets_a_state_is_healthy_by_the_signs(recipe: Path) -> None:
    watch = guard(recipe, "corpus.dev=[]", action="rollback", snapshot_hours=1.0)
    settle(watch, 1.0)
    with pytest.raises(CollapseError, match="going back has not helped"):
        settle(watch, 2.0, CONSTANT, 30)


def test_what_ends_a_run_ends_it_again(recipe: Path) -> None:
    for action in ("stop", "rollback"):
        watch = guard(recipe, action=action)
        for _ in range(2):
            with pytest.raises(CollapseError, match="an effective rank of"):
                watch.evaluated(1.0, 2.0)
        again = guard(recipe, action=action)
        again.load(json.loads(json.dumps(watch.state())), dict)
        with pytest.raises(CollapseError, match="an effective rank of") as told:
            again.evaluated(1.0, 2.0)
    assert "no healthy state was there to go back to" in told.value.what
    assert "objective.latent.health.grace_hours" in told.value.what


def test_the_dev_loss_of_what_has_collapsed_does_not_count(recipe: Path) -> None:
    watch = guard(recipe)
    for rank, is_sound in ((9.0, True), (1.0, False), (1.0, False), (9.0, True)):
        watch.evaluated(rank, 1.0)
        assert watch.is_sound == is_sound
    settle(watch, 1.1, CONSTANT)
    watch.evaluated(9.0, 1.2)
    assert not watch.is_sound


@pytest.mark.parametrize("name", HEALTHY)
def test_nan_is_a_fault_and_not_for_ever(recipe: Path, name: str) -> None:
    watch = guard(recipe)
    assert "effective rank of nan" in watch.evaluated(math.nan, 1.0)[0]
    assert "healthy again" in watch.evaluated(9.0, 1.0)[0]
    settle(watch, 1.0)
    assert "collapsed" in watch.watch({**HEALTHY, name: math.nan}, 1.0, 15.0)[0]
    assert "healthy again" in watch.watch(HEALTHY, 1.0, 15.0)[0]


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_is_not_finite_on_dev_is_a_fault_and_no_traceback(recipe: Path, kind: str) -> None:
    config = load_config(recipe, [*SETTINGS[kind], *PLAIN])
    network, ranks = make_model(config, 0).eval(), Ranks(0, 1, torch.device("cpu"))
    front_end = make_front_end(config, network.encoder)
    dev = make_dev_sets(config, front_end, training_tokenizer(config), ranks)
    assert isinstance(dev, RepresentationDevSets)
    assert dev.evaluate(network, dev.sets[0]).effective_rank > 2
    with torch.no_grad():
        next(network.encoder.parameters()).fill_(math.nan)
    assert math.isnan(dev.evaluate(network, dev.sets[0]).effective_rank)


INJECTED = """
import sys
from dataclasses import replace
from asr.training.guards.collapse import CollapseGuard
from asr.training.objectives.byol import ByolObjective
from asr.training.objectives.latent import LatentObjective
from asr.training.objectives.representations import RepresentationObjective
from asr.__main__ import main

begin, batches = RepresentationObjective.begin_batch, []
judge, where = CollapseGuard.evaluated, [float(hours) for hours in sys.argv[2].split(",")]

def evaluated(self, rank, hours):
    is_spoilt = where[0] <= hours < where[1] and not self.has_rolled_back
    return judge(self, 1.0 if is_spoilt else rank, hours)

CollapseGuard.evaluated = evaluated

def counted(self, batch, number, hours):
    batches.append(number)
    return begin(self, batch, number, hours)

def constant(real):
    def told(*given):
        found = real(*given)
        is_spoilt = 8 <= batches[-1] and len(batches) <= int(sys.argv[1])
        return replace(found, targets_BSD=0.0 * found.targets_BSD) if is_spoilt else found
    return told

RepresentationObjective.begin_batch = counted
for one in (ByolObjective, LatentObjective):
    one.told = constant(one.told)
sys.exit(main(sys.argv[3:]))
"""
QUICK = [
    *PLAIN,
    *("scaling.reference_batch_seconds=5", "batch.batch_seconds=5", "batch.group_seconds=5"),
    *("trainer.total_hours=0.06", "trainer.noise_scale_every_batches=0"),
    "trainer.evaluation_every_hours=0.01",
]
"""43 updates, and an evaluation each seven or so."""
ROLLBACK = "{action: rollback, snapshot_hours: 0.005}"


def injected(
    recipe: Path,
    run: Path,
    until: int,
    *settings: str,
    rank_at: str = "1,1",
    kind: str = "latent",
) -> subprocess.CompletedProcess[str]:
    """Targets are constant from the ninth batch on, until so many have been drawn.

    Within `rank_at`, hours, the effective rank is 1, unless the run has gone back.
    """
    program = [sys.executable, "-c", INJECTED, str(until), rank_at]
    command = [*program, "train", str(recipe), f"output={run}"]
    return subprocess.run(
        [*command, *SETTINGS[kind], *QUICK, *settings],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("kind", ["latent", pytest.param("byol", marks=pytest.mark.slow)])
def test_an_injected_collapse_is_noticed_within_50_updates_and_survived(
    recipe: Path, tmp_path: Path, kind: str
) -> None:
    run = tmp_path / "run"
    done = injected(recipe, run, 24, f"objective.{kind}.health={ROLLBACK}", kind=kind)
    assert done.returncode == 0, done.stderr
    said = [line for line in (run / "train.log").read_text().splitlines() if "represent" in line]
    assert "targets have a variance of" in said[0]
    text = (run / "train.log").read_text()
    assert text.count("put back to their last healthy state") == 1
    lines = [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    noticed_at = next(one["step"] for one in lines if f"{one['hours']:8.2f}" == said[0][:8])
    assert 8 < noticed_at < 58
    assert lines[-1]["target_variance"] > 0.3
    assert all(torch.isfinite(torch.tensor(line["loss"])) for line in lines)
    assert {p.name for p in final(run).glob("healthy*")} >= {
        "healthy-0.safetensors",
        "healthy_student-0.safetensors",
    }


@pytest.mark.slow
def test_a_collapse_that_lasts_ends_the_run_with_its_remedy(recipe: Path, tmp_path: Path) -> None:
    for action, said in (("stop", "targets have"), ("rollback", "going back has not helped")):
        health = f"objective.latent.health={{action: {action}, snapshot_hours: 0.005}}"
        done = injected(recipe, tmp_path / action, 1000, health)
        assert done.returncode == 2, done.stderr
        assert "representations have collapsed" in done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        lines = read_lines(tmp_path / action / "metrics.jsonl")
        logged = [line for line in lines if "masked_share" in line]
        if action == "stop":
            ends = guard(recipe, "scaling.reference_batch_seconds=5")
            found = [ends.watch(one, one["hours"], one["batch_seconds"]) for one in logged]
            assert found[-1], "the update that ended it is the last one there"
            assert not any(found[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stage"), [*(("latent", stage) for stage in range(4)), ("byol", 0), ("byol", 2)]
)
def test_a_checkpoint_after_a_rollback_by_rank_goes_on_bit_for_bit(
    recipe: Path, tmp_path: Path, kind: str, stage: int
) -> None:
    run, every = tmp_path / "run", "trainer.checkpoint_every_hours=0.01"
    health = f"objective.{kind}.health={ROLLBACK}"
    options = [health, every, f"trainer.zero_stage={stage}", "trainer.keep_last=20"]
    done = injected(recipe, run, 0, *options, rank_at="0.03,0.04", kind=kind)
    assert done.returncode == 0, done.stderr
    assert (run / "train.log").read_text().count("put back to their last healthy state") == 1
    line = sorted((run / "checkpoints").glob("hours-*"))
    states = [read_json(one / "state.json") for one in line]
    (at,) = [n for n, state in enumerate(states) if state["dev_loss"] is None]
    assert 0.03 <= states[at]["clock"]["seconds"] / 3600 < 0.04
    for name, kept in (("student", "healthy_student-0"), ("teacher", "healthy-0")):
        assert same_weights(*(line[at] / f"{one}.safetensors" for one in (name, kept)))
    whole, logged = final(run).rename(tmp_path / "whole"), without_wall_time(run)
    for later in line[at + 1 : -1]:
        shutil.rmtree(later)
    (run / "latest").write_text(line[at].name)
    assert injected(recipe, run, 0, *options, kind=kind).returncode == 0
    assert without_wall_time(run) == logged
    for name in ("student", "teacher", "optimizer"):
        assert same_weights(*(one / f"{name}.safetensors" for one in (whole, final(run))))


@pytest.mark.slow
def test_a_rank_that_ends_the_run_ends_it_again_and_is_never_saved(
    recipe: Path, tmp_path: Path
) -> None:
    run, stop = tmp_path / "run", "objective.latent.health.action=stop"
    for every in ("0.01", "1"):  # at a checkpoint that is due, and between two
        options = [stop, f"trainer.checkpoint_every_hours={every}"]
        done = injected(recipe, run, 0, *options, rank_at="0.03,1")
        assert done.returncode == 2, done.stderr
        assert "effective rank of 1.00" in done.stderr
        assert "Traceback" not in done.stderr
        assert all(float(one.name[6:]) < 0.03 for one in (run / "checkpoints").iterdir())


@pytest.mark.slow
def test_what_has_collapsed_is_not_the_best(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    every = "trainer.checkpoint_every_hours=0.01"
    done = injected(recipe, run, 1000, every, "trainer.keep_last=2", rank_at="0.02,1")
    assert done.returncode == 0, done.stderr
    best = (run / "best").read_text().strip()
    assert float(best[6:]) < 0.02
    assert (run / "checkpoints" / best).is_dir()
    assert read_json(final(run) / "state.json")["dev_loss"] is None
