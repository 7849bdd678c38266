"""Files are replaced whole, or left as they were."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from asr.utils.files import replacing, replacing_text, write_jsonl


def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with replacing_text(path) as stream:
        stream.write("old\n")
    for open_one, content in ((replacing, b"new"), (replacing_text, "neu")):
        with suppress(ZeroDivisionError), open_one(path) as stream:  # type: ignore[operator]
            stream.write(content)
            raise ZeroDivisionError
    assert path.read_text() == "old\n"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_lines_are_utf_8(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "lines.jsonl", [{"text": "ё"}, {"text": "\u2028"}])
    assert (tmp_path / "lines.jsonl").read_bytes() == '{"text": "ё"}\n{"text": "\u2028"}\n'.encode()
