"""What `asr audit` refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.cli import audit
from asr.errors import UserError


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
        (["--margin", "1,wer=2"], "one of pseudo_label_wer"),
        (["--hours", "1", "--burn-in-hours", "2"], "between 0 and 1"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(
    recipe: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        audit.main([str(recipe), "--output", str(tmp_path / "audit"), *options])
    assert not (tmp_path / "audit").exists()
