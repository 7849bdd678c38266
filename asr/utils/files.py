"""Writing files so that a reader, or a crash, sees the old content or the new one."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from asr.errors import UserError
from asr.utils.text_files import refuse_pipe

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A full disk names no file: in this block such an error is said of `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None and not isinstance(error, ConnectionError):
            error.filename = str(path)
        raise


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A place beside `path`: the file there takes its place at the end; after an error nothing is left.

    An error of the system that names no file, as that of a full disk, is made to name `path`.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # what a kill has left; or a link to somewhere else
        with naming(path):
            yield partial
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of `path` when the block ends without an error.

    What is written lies beside `path` until all of it is on the disk; after an error nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path) as partial, partial.open("xb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def replacing_text(path: Path) -> Iterator[TextIO]:
    """The same for text, in UTF-8."""
    with replacing(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8")
        yield text
        text.flush()
        text.detach()


@contextmanager
def replacing_gzip(path: Path) -> Iterator[BinaryIO]:
    """The same, compressed; without name and time, so that equal content gives equal bytes."""
    import gzip

    with replacing(path) as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream:
        yield cast(BinaryIO, stream)


def write_text(path: Path, text: str) -> None:
    """Write a small file."""
    with replacing(path) as stream:
        stream.write(text.encode())


def encodable(text: str) -> str:
    """For people: half a surrogate pair, of a damaged file or of a foreign name, becomes a question mark."""
    return text.encode(errors="replace").decode()


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document, for people too."""
    write_text(path, _json(content, 2) + "\n")


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with replacing_text(path) as stream:
        stream.writelines(map(json_line, records))


def json_line(record: dict[str, Any]) -> str:
    """One JSON object and the end of its line, such that it can be encoded."""
    return _json(record) + "\n"


def _json(content: Any, indent: int | None = None) -> str:
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as in a name that is not UTF-8
        text = json.dumps(content, indent=indent)
    return text


def read_json(path: Path) -> Any:
    """Read a JSON document of ours. Raises OSError or ValueError where it is none."""
    refuse_pipe(path)
    return json.loads(path.read_text(encoding="utf-8"))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all; `about` is what it says of itself.

    Raises UserError where the disk does not take it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with _partial(path) as partial:
            save_file(dict(tensors), partial, dict(about) if about else None)
            partial.chmod(0o666 & ~current_umask())  # the library would keep it from all others
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: cannot be written ({error})",
            "free space on its disk, or fix its permissions, and run "
            "the same command: a run goes on from its last checkpoint",
        ) from None


def current_umask() -> int:
    """Of this process, which can only be had by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def flush_to_disk(folder: Path, only_itself: bool = False) -> None:
    """Make every file below `folder`, and the folder itself (or a single file), survive a power cut.

    `only_itself`: what a folder lists, and not what is in it.
    """
    below = [] if only_itself else [p for p in folder.rglob("*") if p.is_file()]
    for path in [*below, folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy_file(source: Path, target: Path) -> None:
    """A file's content to another place. Of a full disk the library names the source, and this the target."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        error.filename = error.filename2 or error.filename or str(target)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """The same file in another place; a copy where the file system cannot link."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        copy_file(source, target)
