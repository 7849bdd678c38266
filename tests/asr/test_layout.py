"""The house keeps its measures: packages, files and functions that can be taken in at a glance."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = [*(ROOT / "asr").rglob("*.py"), *(ROOT / "data_prep").rglob("*.py")]
MOST_MODULES, MOST_MODULES_LOOSE, MOST_LINES, MOST_LINES_OF_A_FUNCTION = 16, 4, 350, 60


def test_no_package_and_no_file_is_too_large() -> None:
    counts = Counter(module.parent for module in MODULES)
    assert counts.pop(ROOT / "asr") <= MOST_MODULES_LOOSE
    for package, count in counts.items():
        assert count <= MOST_MODULES, package
    for module in MODULES:
        assert len(module.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, module


def test_no_function_is_too_long() -> None:
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= MOST_LINES_OF_A_FUNCTION, f"{module}: {node.name} has {lines} lines"


def test_every_package_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    own = {".".join(m.parent.relative_to(ROOT).parts) for m in MODULES if m.name == "__init__.py"}
    found = {f"asr.{name}" if name.startswith("data_prep") else name for name in own}
    files = {
        "asr.recipes",
        "asr.tools",
        "asr.tools.peers",
    }  # tests/recipes/test_wheel.py looks at these
    assert set(settings["tool"]["setuptools"]["packages"]) == found | files


def test_the_map_of_contributing_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!to add|package|---)[^|]+\| ([^|]+) \|$", text, re.MULTILINE)
    named = [path for row in rows for path in re.findall(r"`((?:asr|data_prep)/[\w/.]+)`", row)]
    assert len(named) > 20
    for path in named:
        assert (ROOT / path).exists(), path
