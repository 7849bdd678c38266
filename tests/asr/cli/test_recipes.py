"""`asr recipes`: what is listed, and what a copy holds and leaves alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from recipe_paths import RECIPES

from asr.__main__ import main


def test_every_recipe_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "list"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(listed) == {folder.name for folder in RECIPES.iterdir() if folder.is_dir()}
    assert listed["festvox_ru"] == "half an hour transcribed, an hour not"


@pytest.mark.parametrize("name", ["festvox_ru", "librispeech", "methods", "noisy_parabola"])
def test_a_copy_has_all_that_its_recipes_are_put_on_top_of(name: str, tmp_path: Path) -> None:
    assert main(["recipes", "copy", name, str(tmp_path / "моя папка")]) == 0
    for recipe in (tmp_path / "моя папка/recipes" / name).rglob("*.yaml"):
        if name != "methods":  # which are parts of recipes
            assert main(["train", str(recipe), "--print-config"]) == 0
    for script in (tmp_path / "моя папка/recipes" / name).glob("*.sh"):
        assert os.access(script, os.X_OK)


def test_a_copy_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", "festvox_ru"]) == 0
    edited = tmp_path / "recipes/festvox_ru/supervised.yaml"
    missing = tmp_path / "recipes/festvox_ru/audit.yaml"
    missing.unlink()
    assert main(["recipes", "copy", "festvox_ru"]) == 0
    assert missing.exists()
    assert "1 files copied" in capsys.readouterr().out
    edited.write_text("name: mine\n", encoding="utf-8")
    missing.unlink()
    assert main(["recipes", "copy", "festvox_ru"]) == 2
    assert "supervised.yaml: is there already" in capsys.readouterr().err
    assert edited.read_text(encoding="utf-8") == "name: mine\n"
    assert not missing.exists()


def test_an_unknown_recipe_is_answered_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("festvox", "../recipes/festvox_ru", ""):
        assert main(["recipes", "copy", name, str(tmp_path)]) == 2
        assert "there are amazon_queen, festvox_ru" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
