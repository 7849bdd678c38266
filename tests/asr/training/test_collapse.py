"""Representations that collapse: noticed, said, and undone or the end of the run, as the recipe wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PLAIN, final, read_lines
from latent_helpers import LATENT

from asr.config.objective import CollapseConfig
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.training.guards.collapse import CollapseGuard

HEALTHY = {"target_variance": 0.9, "prediction_variance": 0.2, "dead_share": 0.0}
CONSTANT = {"target_variance": 0.0, "prediction_variance": 0.2, "dead_share": 0.0}
DEAD = {"target_variance": 0.9, "prediction_variance": 0.2, "dead_share": 1.0}
SILENT = {"target_variance": 0.9, "prediction_variance": 0.0, "dead_share": 0.0}


def guard(recipe: Path, **policy: Any) -> CollapseGuard:
    models: Any = SimpleNamespace(config=load_config(recipe, LATENT))
    return CollapseGuard(CollapseConfig(**policy), models)


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
    with pytest.raises(UserError, match="representations have collapsed: targets") as told:
        watch.watch(CONSTANT, 1.1, 15.0)
    assert guard(recipe, action="stop").watch(CONSTANT, 1.1, 15.0) == [], "of one update"
    assert "mask more" in told.value.remedy


INJECTED = """
import sys
from dataclasses import replace
from asr.training.objectives import latent
from asr.__main__ import main

real, begin, batches = latent.representations, latent.LatentObjective.begin_batch, []

def counted(self, batch, number, hours):
    batches.append(number)
    return begin(self, batch, number, hours)

def constant(*given):
    found = real(*given)
    is_spoilt = 8 <= batches[-1] and len(batches) <= int(sys.argv[1])
    return replace(found, targets_BSD=0.0 * found.targets_BSD) if is_spoilt else found

latent.LatentObjective.begin_batch, latent.representations = counted, constant
sys.exit(main(sys.argv[2:]))
"""
QUICK = [
    *LATENT,
    *PLAIN,
    *("scaling.reference_batch_seconds=5", "batch.batch_seconds=5", "batch.group_seconds=5"),
    *("trainer.total_hours=0.06", "trainer.noise_scale_every_batches=0"),
    "trainer.evaluation_every_hours=0.06",
]


def injected(
    recipe: Path, run: Path, until: int, *settings: str
) -> subprocess.CompletedProcess[str]:
    """Targets are constant from the ninth batch on, until so many have been drawn."""
    command = [sys.executable, "-c", INJECTED, str(until), "train", str(recipe), f"output={run}"]
    return subprocess.run(
        [*command, *QUICK, *settings], capture_output=True, text=True, timeout=300, check=False
    )


def test_an_injected_collapse_is_noticed_within_50_updates_and_survived(
    recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    health = "objective.latent.health={action: rollback, snapshot_hours: 0.005}"
    done = injected(recipe, run, 24, health)
    assert done.returncode == 0, done.stderr
    said = [line for line in (run / "train.log").read_text().splitlines() if "represent" in line]
    assert "targets have a variance of" in said[0]
    text = (run / "train.log").read_text()
    assert text.count("put back to their last healthy state") == 1
    lines = [line for line in read_lines(run / "metrics.jsonl") if "masked_share" in line]
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
