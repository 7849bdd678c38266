"""What `asr audit` refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asr.cli import audit
from asr.errors import UserError
from asr.planning.audit.plan import make_plan
from asr.planning.audit.runner import _Runner, alone
from asr.utils.locks import LOCK, locked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kappa", "1,16"], "largest kappa allowed is below 10"),
        (["--kappa", "1,0.5"], "no whole number of groups"),
        (["--kappa", "1,1"], "different positive numbers"),
        (["--rules", "all"], "one or several of"),
        (["--seeds", "0"], "at least 1"),
        (["--hours", "-1"], "above 0"),
        (["--seeds-at", "none8=5"], "write RULE:KAPPA=N, as in none:8=5"),
        (["--seeds-at", "full:3=5"], "full:3 is no cell of this audit"),
        (["--progressive", "1"], "does not grow"),
        (["--progressive", "16"], "largest kappa allowed is below 10"),
        (["--progressive", "2.3"], "--progressive 2.3: a batch of .* no whole number of groups"),
        (["--margin", "-1"], "'-1' is no margin"),
        (["--margin", "1,wer=2"], "one of probe_cer, pseudo_label_wer"),
        (["--hours", "1", "--burn-in-hours", "2"], "between 0 and 1"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(
    recipe: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        audit.main([str(recipe), "--output", str(tmp_path / "audit"), *options])
    assert not (tmp_path / "audit").exists()


def test_one_audit_a_folder_and_cells_that_still_run_are_waited_for(
    recipe: Path, tmp_path: Path
) -> None:
    plan = make_plan(str(recipe), [], [2.0], ["full"], seeds=1, output=tmp_path / "audit")
    with (
        alone(plan),
        pytest.raises(UserError, match=r"another audit is running there \(pid \d+ on "),
        alone(plan),
    ):
        pass
    said: list[str] = []
    runner = _Runner(plan, 1, said.append)
    cell = plan.cells[0]
    assert not runner._is_run_elsewhere(cell)  # it has no folder yet
    plan.folder(cell).mkdir(parents=True)
    with locked(plan.folder(cell) / LOCK, signed=True):
        assert runner._is_run_elsewhere(cell)
        assert runner._is_run_elsewhere(cell)
    assert not runner._is_run_elsewhere(cell)
    [line] = said
    assert f"{cell.name}: still run by a process (pid {os.getpid()} on " in line
