"""A yaml.py beside the recipe was run in place of the library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from manifest_helpers import line, write

from asr.data.manifest import scan
from asr.data.manifest.index import open_index
from asr.planning.audit import runner
from asr.planning.audit.metrics import Cell

MODULES = ("yaml", "pydantic_core", "numpy", "pathlib", "signal", "orjson", "json", "torch")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory full of modules that leave a file behind; the file."""
    there = tmp_path / "there"
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(there)!r}, 'a').write({name + ' '!r})\nraise ImportError({name!r})\n"
        )
    monkeypatch.chdir(tmp_path)
    return there


def test_the_program_imports_nothing_from_it(trap: Path) -> None:
    command = [sys.executable, "-m", "asr", "check", "no.yaml"]
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    assert "no such recipe" in done.stderr
    assert not trap.exists(), trap.read_text()


def test_an_index_is_made_without_it(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(scan, "_ALONE_BYTES", 1000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    manifest = write(trap.parent / "set.jsonl", [line(f"u{i:03d}", text="x") for i in range(100)])
    # As under `python -m asr`.
    monkeypatch.syspath_prepend("")
    sys.path.append(sys.path.pop(0))
    assert len(open_index(manifest)) == 100
    assert not trap.exists(), trap.read_text()


def test_an_audit_s_cells_run_without_it(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(1.0, "full", 1)
    folder = trap.parent / "cell"
    plan = SimpleNamespace(
        recipe="no.yaml",
        folder=lambda _: folder,
        cell_overrides=lambda _: [],
        output=folder,
        hours=1.0,
    )
    monkeypatch.setattr(runner, "cell_config", lambda *_: None)
    monkeypatch.setattr(sys, "path", [str(trap.parent), *sys.path])
    found = runner.run_missing(plan, [cell], 1, print)  # type: ignore[arg-type]
    assert "no such recipe" in found[cell]
    assert not trap.exists(), trap.read_text()
