"""An audit's files, of cells that are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from latent_helpers import SETTINGS

from asr.planning.audit.margins import POINTS
from asr.planning.audit.plan import make_plan
from asr.planning.audit.results import write_results
from asr.utils.files import read_json, write_json, write_jsonl


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_has_collapsed_is_told_by_the_alarm_of_the_objective_in_force(
    recipe: Path, tmp_path: Path, kind: str
) -> None:
    health = f"objective.{kind}.health.min_effective_rank=9"
    plan = make_plan(
        str(recipe), [*SETTINGS[kind], health], [1, 2], ["full"], 2, output=tmp_path / "audit"
    )
    signs = {"dev_loss": 0.5, "target_variance": 1.0, "dead_share": 0.0}
    for cell in plan.cells:
        folder = plan.folder(cell)
        folder.mkdir(parents=True)
        rank = 8.0 if (cell.kappa, cell.seed) == (2, plan.cells[1].seed) else 10.0
        line = {"model": "teacher", "set": "dev", "step": 9, "hours": plan.hours}
        write_jsonl(folder / "metrics.jsonl", [line | signs | {"effective_rank": rank}])
        write_json(folder / "complete.json", {"hours": plan.hours})
    page = write_results(plan, {}, {POINTS: 5.0})
    assert "collapsed at kappa 2" in page
    assert "collapsed with 1 of 2 seeds" in page
    collapsed = [one["collapsed"] for one in read_json(plan.output / "audit.json")["cells"]]
    assert collapsed == [False, False, False, True]
