"""docs/ as a site: it is built without a warning, and what it names is there."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from recipe_paths import RECIPES

from asr.__main__ import COMMANDS, main
from asr.config.json_schema import recipe_schema
from asr.config.recipe import load_config

ROOT = RECIPES.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""Besides, tests/recipes/test_methods.py runs the examples of recipes/methods."""


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(root / ".mkdocs.yml")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*command, "-d", str(site)], env=environment, capture_output=True, text=True, check=False
    )


class Text(HTMLParser):
    """Headings, and the words that stand as code."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.inside = ""
        self.code: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        if tag in ("h2", "h3"):
            self.headings.append("")

    def handle_data(self, data: str) -> None:
        if self.inside in ("h2", "h3"):
            self.headings[-1] += data
        elif self.inside == "code":
            self.code.add(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def settings_of(schema: dict[str, Any]) -> set[str]:
    return set(schema["properties"]).union(
        *(k.get("properties", ()) for k in schema["$defs"].values())
    )


def test_it_is_built_without_a_warning_and_has_every_setting(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for page in ("index", "tutorial", "python", "CONTRIBUTING", "recipes/festvox_ru/RESULTS"):
        assert (tmp_path / f"{page}.html").exists(), page
    assert not list(tmp_path.rglob("*.ipynb"))
    read = Text()
    read.feed((tmp_path / "recipe_reference.html").read_text(encoding="utf-8"))
    names = settings_of(recipe_schema())
    sections = {heading.partition(",")[0].rpartition(".")[2] for heading in read.headings}
    assert names <= read.code | sections
    assert len(names) > 150


def test_a_link_to_nothing_breaks_it(tmp_path: Path) -> None:
    for part in ("docs", "recipes"):
        shutil.copytree(ROOT / part, tmp_path / part)
    for file in (*ROOT.glob("*.md"), ROOT / ".mkdocs.yml"):
        shutil.copy(file, tmp_path)
    with (tmp_path / "docs/faq.md").open("a", encoding="utf-8") as page:
        page.write("\n[nothing](../recipes/nothing/README.md) [nowhere](rule.md#nowhere)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "recipes/nothing/README.md" in done.stderr
    assert "#nowhere" in done.stderr


def test_every_command_is_described(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    below: list[tuple[str, str]] = []
    add = argparse._SubParsersAction.add_parser

    def noted(self: Any, name: str, **options: Any) -> Any:
        below.append((self._prog_prefix.removeprefix("asr "), name))
        return add(self, name, **options)

    monkeypatch.setattr(argparse._SubParsersAction, "add_parser", noted)
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8").replace("\\|", "|")
    rows = re.findall(r"`asr (.*?)`", text)
    for command in COMMANDS:
        assert any(row.split()[0] == command for row in rows), command
    for command, name in below:
        own = [row for row in rows if row.split()[0] == command.split()[0]]
        assert any(name in row.replace("|", " ").split() for row in own), (command, name)
    assert len(below) > 15


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield page.name, block


def test_recipes_in_the_text_are_sound(tmp_path: Path) -> None:
    (tmp_path / "recipes").symlink_to(RECIPES)
    found = list(blocks("yaml"))
    for page, block in found:
        (tmp_path / f"{page}.yaml").write_text(block, encoding="utf-8")
        load_config(tmp_path / f"{page}.yaml")
    assert {page for page, _ in found} >= {"tutorial.md", "README.md"}


def test_what_the_plan_derives_is_what_the_rule_s_page_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs/rule.md").read_text(encoding="utf-8")
    [command] = re.findall(r"`asr (plan .*?)`, 290 s", page)
    assert main(command.split()) == 0
    printed = capsys.readouterr().out.splitlines()
    [shown] = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for line in shown.splitlines():
        assert line in printed


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    book = nbformat.read(ROOT / "docs/python.ipynb", as_version=4)
    shown = printed(book)
    for cell in book.cells:
        if "outputs" in cell:
            cell.outputs = []
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    found = printed(book)
    assert (tmp_path / "exp/notebook/complete.json").exists()
    assert "abc dab cab" in found
    for line in shown.splitlines():  # what is of another machine are times and the student's luck
        if line.startswith(("WER", "for a recipe", "dev ")):
            assert line in found


def printed(book: Any) -> str:
    return "".join(one.get("text", "") for cell in book.cells for one in cell.get("outputs", ()))
