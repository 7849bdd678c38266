"""Lines that json reads and the fast parser does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifest_helpers import line, write

from asr.data.manifest.index import open_index
from asr.errors import UserError


def test_what_json_reads_and_the_fast_parser_does_not(tmp_path: Path) -> None:
    surrogate = line("x").replace("/x.wav", "/\\udcff.wav")
    index = open_index(write(tmp_path / "a.jsonl.gz", [surrogate, "\ufeff" + line("y")]))
    assert index.record(0)["recording"]["sources"][0]["source"] == "/\udcff.wav"
    assert index.record(1)["id"] == "y"
    with pytest.raises(UserError, match="line 1: UnicodeEncodeError"):
        open_index(
            write(tmp_path / "b.jsonl.gz", [line("x", text="a").replace('"a"', '"\\udcff"')])
        )
    with pytest.raises(UserError, match="line 1: AttributeError"):
        open_index(write(tmp_path / "c.jsonl.gz", [line("x").replace('"x"', "7")]))
