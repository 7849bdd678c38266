"""Every field is documented, and a schedule of batches is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.config.recipe import dump_config, load_config
from asr.config.schema import Config
from asr.errors import UserError


@pytest.mark.parametrize(
    "schedule", ["[[1,15]]", "[[0,15],[0,30]]", "[[0,15],[5,30],[4,60]]", "[]"]
)
def test_a_schedule_begins_at_zero_and_ascends(recipe: Path, schedule: str) -> None:
    with pytest.raises(UserError, match="batch"):
        load_config(recipe, [f"batch.batch_seconds={schedule}"])


def test_every_field_is_documented() -> None:
    lines = dump_config(Config(), comments=True).splitlines()
    undocumented = [line for line in lines if not line.endswith(":") and "  # " not in line]
    assert undocumented == []
