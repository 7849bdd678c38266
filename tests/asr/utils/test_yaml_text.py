"""YAML of strangers: what is too much is refused at once."""

from __future__ import annotations

import time

import pytest
import yaml

from asr.utils.yaml_text import parse_yaml


@pytest.mark.parametrize(
    "text",
    ["", "a: 1", "- 1\n- {b: [x, 2.5, null]}", "base: &b {c: 1}\nmore: *b\n", "d: 2026-11-26"],
)
def test_it_reads_what_yaml_reads(text: str) -> None:
    assert parse_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a0: &a0 [x]\n"
            + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i},' * 9}]\n" for i in range(12)),
            r"line \d+: with its aliases it has more than 100000 values",
        ),
        ("a: &a [*a]", "line 1: it holds itself"),
        ("a: &a\n  b: {c: *a}", "line .: it holds itself"),
        ("[" * 50_000, "."),
        ("a: 2026-13-45", "month"),
        ("a: !!python/object/apply:os.system [true]", "python/object"),
    ],
)
def test_what_is_too_much_is_refused_at_once(text: str, says: str) -> None:
    began = time.monotonic()
    with pytest.raises(yaml.YAMLError, match=says):
        parse_yaml(text)
    assert time.monotonic() - began < 10
