"""Probes of an audit's cells: compared where they were made in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr.errors import UserError
from asr.planning.audit.metrics import Cell
from asr.planning.audit.probes import probe_curves
from asr.utils.files import write_json

CELLS = [Cell(1.0, "full", 1), Cell(2.0, "full", 1), Cell(4.0, "full", 1)]


def write_probe(folder: Path, cer: float, name: str = "dev", **settings: Any) -> None:
    (folder / "probes" / name).mkdir(parents=True)
    probe = {"updates": 2000, "learning_rate": 0.01, "labelled_minutes": 28.5, "seed": 1}
    write_json(
        folder / "probes" / name / "teacher.json", {**probe, **settings, "score": {"cer": cer}}
    )


def test_a_cell_has_the_mean_over_its_sets_and_one_that_was_not_probed_none(tmp_path: Path) -> None:
    folders = {cell: tmp_path / cell.name for cell in CELLS}
    for cell, cers in zip(CELLS, ((30.0, 40.0), (50.0, 60.0)), strict=False):
        for name, cer in zip(("dev", "test"), cers, strict=True):
            write_probe(folders[cell], cer, name)
    assert list(probe_curves(folders, 9.0).values()) == [
        {"probe_cer": [(9.0, 35.0)]},
        {"probe_cer": [(9.0, 55.0)]},
        {},
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"updates": 200}, "updates 2000 and 200"),
        ({"labelled_minutes": 10.0}, "labelled_minutes 28.5 and 10.0"),
        ({"name": "test"}, r"sets \['dev'\] and \['test'\]"),
    ],
)
def test_what_was_probed_in_another_way_is_not_compared(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    folders = {cell: tmp_path / cell.name for cell in CELLS[:2]}
    write_probe(folders[CELLS[0]], 30.0)
    write_probe(folders[CELLS[1]], 30.0, **change)
    with pytest.raises(UserError, match=f"kappa1_full_seed1 and kappa2_full_seed1.*{said}"):
        probe_curves(folders, 9.0)
