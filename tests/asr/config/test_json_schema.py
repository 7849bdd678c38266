"""The schema that editors check recipes by agrees with what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from recipe_paths import RECIPES

from asr.cli.recipes import schema

FILES = sorted(RECIPES.glob("*/*.yaml"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    from asr.config.json_schema import recipe_schema

    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    return jsonschema.Draft202012Validator(recipe_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_is_sound_to_an_editor(
    validator: jsonschema.Draft202012Validator, path: Path
) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(tree)] == []


@pytest.mark.parametrize(
    "tree",
    [
        {"trainer": {"total_hour": 10}},
        {"trainer": {"total_hours": "long"}},
        {"modle": {}},
        {"scaling": {"rule": "half"}},
        {"base": 3},
    ],
)
def test_what_no_run_would_take_is_not(
    validator: jsonschema.Draft202012Validator, tree: dict[str, Any]
) -> None:
    assert not validator.is_valid(tree)


def test_settings_say_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main([]) == 0
    found = json.loads(capsys.readouterr().out)
    trainer = found["$defs"]["TrainerConfig"]["properties"]
    assert trainer["checkpoint_every_hours"]["description"] == "Audio between two checkpoints."
    assert trainer["checkpoint_every_hours"]["default"] == 100.0
