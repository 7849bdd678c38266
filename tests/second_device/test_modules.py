"""No module that has to do with tensors is forgotten by the second device's tests."""

from __future__ import annotations

import re
from pathlib import Path

from far_modules import BY_PATHS, BY_TRAININGS, ON_THE_HOST

ROOT = Path(__file__).parents[2]


def test_every_module_with_tensors_is_gone_through_or_stays_on_the_host() -> None:
    """A new one: let a case of tests/device_cases.py or a training of this folder go through it,
    or say in far_modules.py why not.
    """
    found = set()
    for path in (ROOT / "asr").rglob("*.py"):
        if re.search(r"^\s*(import|from) torch\b", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    listed = [*BY_PATHS, *BY_TRAININGS, *" ".join(ON_THE_HOST.values()).split()]
    assert len(listed) == len(set(listed))
    assert found - set(listed) == set()
    assert {one for one in listed if not (ROOT / f"{one.replace('.', '/')}.py").exists()} == set()
