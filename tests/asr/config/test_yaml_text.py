"""YAML that says something else than it looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from asr.config.recipe import load_config
from asr.errors import UserError
from asr.utils.yaml_text import parse_yaml

BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("optimizer: {}\ntrainer: {}\noptimizer: {}\n", 3, "'optimizer' stands in line 1 already"),
        ("trainer:\n  zero_stage: 1\n  'zero_stage': 2\n", 3, "stands in line 2 already"),
        ("trainer:\n  total_hours: 1:30\n", 2, "1:30 is a number of base 60"),
        ("optimizer:\n  warmup_hours: 1:30.5\n", 2, "1:30.5 is a number of base 60"),
        ("seed: 010\n", 1, "010 is an octal number"),
        ("corpus:\n  labelled: [a, 007]\n", 2, "007 is an octal number"),
        (BOMB, 5, "more than 100000 values"),
        ("a: &a [*a]\n", 1, "it holds itself"),
    ],
)
def test_it_is_refused_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_config(path)
    assert f"{path}: not readable as YAML: line {line}: " in str(error.value)
    assert says in str(error.value)


def test_what_looks_as_it_is_stays() -> None:
    text = "a: '010'\nb: \"1:30\"\nc: [0, -5, 0.5, 1_000, 0x10]\nd: &d {e: 1}\nf: *d\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml("") is None


def test_an_override_says_it_too(recipe: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.total_hours=1:30.*base 60"):
        load_config(recipe, ["trainer.total_hours=1:30"])


def test_the_home_folder_is_found(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once made a folder of the name `~`."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load_config(recipe, ["output=~/exp"]).output == "/home/somebody/exp"
