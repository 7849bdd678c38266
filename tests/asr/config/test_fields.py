"""A tree that is read stays as it is."""

from __future__ import annotations

import pytest

from asr.config.fields import Section
from asr.config.schema import Config


def test_the_tree_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 2  # type: ignore[misc]
    assert issubclass(Config, Section)
