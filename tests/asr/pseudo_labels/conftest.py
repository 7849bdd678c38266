"""Runs for the tests of pseudo-labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import FLUENT, PLAIN, final
from ledger_helpers import make_ledger


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that has a ledger."""
    return make_ledger(tmp_path / "run")


@pytest.fixture
def forked(fluent: Path) -> list[str]:
    """Settings of a run that pseudo-labels with a network that reads the tones."""
    return [
        *PLAIN,
        *FLUENT,
        f"fork_from={final(fluent)}",
        "augmentation.spec_augment.time_masks=2",
        "pseudo_label.start_hours=0.12",
        "trainer.total_hours=0.15",
        "trainer.checkpoint_every_hours=0.01",
    ]
