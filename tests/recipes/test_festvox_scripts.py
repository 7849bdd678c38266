"""What the scripts of festvox_ru run, and in which order: beside an `asr` that notes what it is told."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipe_paths import RECIPES

ASR = """#!/usr/bin/env bash
echo "$*" >> said
[ "$1" = train ] || exit 0
for one in "$@"; do case $one in output=*) run=${one#output=} ;; esac; done
mkdir -p "$run"; touch "$run/complete.json"; echo hours-1 > "$run/latest"
"""
PYTHON = f"""#!/usr/bin/env bash
case "$*" in *torch*) echo 1 ;; *) exec {sys.executable} "$@" ;; esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of these scripts, in which all commands have been replaced."""
    shutil.copytree(RECIPES / "festvox_ru", tmp_path / "recipes/festvox_ru")
    (tmp_path / "tools").mkdir()
    shutil.copy(RECIPES.parent / "tools/signals.sh", tmp_path / "tools")
    (tmp_path / "tools/make_venv.sh").write_text("")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, program in (("asr", ASR), ("python", PYTHON)):
        (tmp_path / ".venv/bin" / name).write_text(program)
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    return tmp_path


def said(folder: Path, script: str, *options: str) -> list[str]:
    """What `asr` was told; the two that run side by side in one order."""
    command = ["bash", str(folder / "recipes/festvox_ru" / script), *options]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (folder / "said").read_text().splitlines()
    places = [n for n, line in enumerate(lines) if "fork_from" in line]
    if places:
        first = places[0]
        lines[first : first + 2] = sorted(lines[first : first + 2])
    return lines


def test_pretraining_comes_before_the_burn_in_that_begins_with_its_encoder(folder: Path) -> None:
    exp = "exp/festvox_ru_pretrained_seed2_quick"
    lines = said(folder, "run_pretrained.sh", "--quick", "--seed", "2")
    expected = [
        "prepare festvox_ru",
        "prepare lm",
        f"train recipes/festvox_ru/pretrain.yaml output={exp}/pretrained",
        f"report {exp}/pretrained",
        f"probe {exp}/pretrained",
        f"train recipes/festvox_ru/supervised.yaml output={exp}/burn_in",
        f"train recipes/festvox_ru/pseudo_labelled_lm.yaml output={exp} ",
        f"train recipes/festvox_ru/supervised.yaml output={exp}/supervised",
        *[f"decode {exp}"] * 4,
        "score",
        f"report {exp} --baseline {exp}/supervised",
    ]
    assert len(lines) == len(expected)
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(beginning)
    _, _, pretrain, _, _, burn_in, *side_by_side = lines[:8]
    assert "seed=2" in pretrain
    assert f"init_from={exp}/pretrained" in burn_in
    for line in side_by_side:
        assert f"fork_from={exp}/burn_in/checkpoints/hours-1" in line
        assert "init_from" not in line


def test_without_pretraining_it_is_the_same_from_random_weights(folder: Path) -> None:
    lines = said(folder, "run.sh")
    trained = [line.split()[1] for line in lines if line.startswith("train")]
    assert [Path(recipe).stem for recipe in trained] == [
        "supervised",
        "pseudo_labelled_lm",
        "supervised",
    ]
    assert not any("init_from" in line for line in lines)
    # It once read both `start_hours` of the recipe, and the full run could not start.
    [hours] = re.findall(r"trainer\.total_hours=(\S+)", "\n".join(lines))
    assert float(hours) == 16, "where the recipe begins to pseudo-label"
