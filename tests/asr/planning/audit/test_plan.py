"""Which cells an audit has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from asr.planning.audit.metrics import Cell
from asr.planning.audit.plan import PROGRESSIVE, cell_config, make_plan

RECIPE = str(Path(__file__).parents[4] / "recipes/festvox_ru/audit.yaml")


def test_cells_of_an_audit_with_seeds_where_they_count_and_growth(tmp_path: Path) -> None:
    plan = make_plan(
        RECIPE,
        [],
        [1, 2, 4, 8],
        burn_in_hours=8,
        hours=16,
        output=tmp_path,
        progressive=16,
        seeds_at={("full", 8.0): 5, ("none", 8.0): 5},
    )
    seeds = Counter((cell.kappa, cell.rule) for cell in plan.cells)
    assert seeds.pop((1.0, "full")) == 5, "kappa = 1 is there for every seed that is to be paired"
    assert seeds.pop((8.0, "full")) == seeds.pop((8.0, "none")) == 5
    assert seeds.pop((16.0, PROGRESSIVE)) == 3
    assert set(seeds.values()) == {3}
    assert len(seeds) == 7
    assert len(plan.burn_ins) == 5
    grown = Cell(16.0, PROGRESSIVE, 2)
    assert plan.folder(grown).name == "kappa16_progressive_seed2"
    config = cell_config(plan, grown)
    assert config.scaling.rule == "full"
    schedule = config.batch_schedule(1)
    assert [seconds for _, seconds in schedule] == [10, 20, 40, 80, 160]
    assert [hours for hours, _ in schedule] == pytest.approx([0, 9.6, 11.2, 12.8, 14.4])


def test_old_command_lines_make_the_old_cells(tmp_path: Path) -> None:
    plan = make_plan(RECIPE, [], [1, 2], ["full", "none"], seeds=2, hours=16, output=tmp_path)
    assert [plan.folder(cell).name for cell in plan.cells] == [
        "kappa1_full_seed1",
        "kappa1_full_seed2",
        "kappa2_full_seed1",
        "kappa2_none_seed1",
        "kappa2_full_seed2",
        "kappa2_none_seed2",
    ]
    only = make_plan(RECIPE, [], [1], seeds=2, hours=16, output=tmp_path)
    assert len(only.cells) == 2


def test_no_cell_ends_before_the_others(tmp_path: Path) -> None:
    impatient = ["trainer.early_stopping.patience_hours=1"]
    plan = make_plan(RECIPE, impatient, [1, 2], seeds=1, hours=16, output=tmp_path)
    for cell in plan.cells:
        assert cell_config(plan, cell).trainer.early_stopping.patience_hours is None
