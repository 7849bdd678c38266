"""A run for the tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_helpers import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with everything."""
    return make_run(tmp_path / "run")
