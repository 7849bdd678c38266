"""tools/over_seeds.py: one seed is what `asr score` says; several are their mean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from recipe_paths import RECIPES
from report_helpers import decode

from asr.evaluation.bootstrap import compare_aligned
from asr.evaluation.edit_distance import align
from asr.evaluation.hypotheses import read_hypotheses


def table(*arguments: str) -> list[str]:
    command = [sys.executable, RECIPES.parent / "tools/over_seeds.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()


def test_rates_and_differences_are_means_over_the_seeds(tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for run, wrong in zip(runs, (2, 6), strict=True):
        decode(run, "teacher", wrong)
        decode(run, "student", 8)
    files = [
        run / "decode/test" / f"{name}.jsonl" for run in runs for name in ("teacher", "student")
    ]
    aligned = [align(read_hypotheses(file)) for file in files]
    single = [compare_aligned(*aligned[:2]), compare_aligned(*aligned[2:])]
    lines = table(*map(str, runs), "--compare", "teacher:student")
    mean = (single[0].delta_wer + single[1].delta_wer) / 2
    assert lines[-1].startswith(f"| teacher less student | {mean:+.2f} [")
    alone = table(str(runs[0]), "--compare", "teacher:student")[-1]
    low, high = single[0].delta_wer_low, single[0].delta_wer_high
    assert f"{single[0].delta_wer:+.2f} [{low:+.2f}, {high:+.2f}]" in alone
    assert "has no system 'beam'" in table(*map(str, runs), "--compare", "beam:student")[-1]
