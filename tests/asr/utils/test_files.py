"""Files are replaced whole, or left as they were."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from asr.utils.files import (
    copy_file,
    replacing,
    replacing_text,
    write_jsonl,
    write_tensors,
    write_text,
)


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


def test_a_link_in_the_place_of_what_is_being_written_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    for name in ("a.txt", "b.safetensors"):
        (tmp_path / f".{name}.partial").symlink_to(target)
    write_text(tmp_path / "a.txt", "new")
    write_tensors(tmp_path / "b.safetensors", {"w": torch.ones(1)})
    assert target.read_text() == "mine"
    assert (tmp_path / "a.txt").read_text() == "new"


def test_weights_can_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "new")
    write_tensors(tmp_path / "b.safetensors", {"w": torch.ones(1)})
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("a.txt", "b.safetensors")]
    assert modes[0] == modes[1]


def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'"),
        replacing(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_full_disk_is_said_of_the_copy_and_not_of_what_is_copied(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("pieces")
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        copy_file(tmp_path / "model", Path("/dev/full"))
    with pytest.raises(FileNotFoundError, match="none"):
        copy_file(tmp_path / "none", tmp_path / "copy")
