"""An output that cannot be continued is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_helpers import check


def test_an_output_that_cannot_be_continued(
    recipe: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = check(capsys, recipe, f"output={trained}")
    assert status == 0
    status, said = check(capsys, recipe, f"output={trained}", "model.width=64")
    assert status == 2
    assert "cannot be continued with other settings: it has model.width 32 and not 64" in said
