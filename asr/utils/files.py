"""Writing files so that a reader, or a crash, sees the old content or the new one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from asr.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text stream whose content takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a small file."""
    with replacing(path) as stream:
        stream.write(text)


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document, for people too."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with replacing(path) as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_json(path: Path) -> Any:
    """Read a JSON document of ours."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file. Raises UserError where the disk does not take it."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: cannot be written ({error}); free space on its disk, or mend its permissions, and run "
            "the same command: a run goes on from its last checkpoint"
        ) from None


def flush_to_disk(folder: Path) -> None:
    """Make every file below `folder`, and the folder itself (or a single file), survive a power cut."""
    for path in [*(p for p in folder.rglob("*") if p.is_file()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file in another place; a copy where the file system cannot link."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
