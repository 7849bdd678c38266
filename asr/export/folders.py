"""A folder that is there whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asr.errors import UserError
from asr.utils.files import current_umask, flush_to_disk, naming

ABOUT = "export.json"
"""In every exported folder: what was exported and how it was checked."""


@contextmanager
def published(target: Path, overwrite: bool) -> Iterator[Path]:
    """A place beside `target` to write into, which takes its name when the block ends without an error.

    Raises UserError where something is at `target`: with `overwrite` only for what is no exported folder.
    """
    check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, before = (target.with_name(f".{target.name}.{end}") for end in ("partial", "before"))
    _put_back(before, target)  # a kill may have come between the two renames
    for leftover in (partial, before):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        with naming(target):
            yield partial
        mask = current_umask()
        for path in filter(Path.is_file, partial.rglob("*")):
            path.chmod(0o666 & ~mask)  # libraries of weights keep them from all others
        flush_to_disk(partial)
        if target.is_dir():
            target.rename(before)
        try:
            partial.rename(target)
        except OSError:
            _put_back(before, target)
            raise
        shutil.rmtree(before, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _put_back(before: Path, target: Path) -> None:
    if before.is_dir() and not target.is_dir():
        before.rename(target)


def check_target(target: Path, overwrite: bool) -> None:
    """Raises UserError as `published` does, before anything is computed."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"--output {target}: is no folder", "name a folder that is not there yet")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not (target / ABOUT).is_file():
        raise UserError(
            f"--output {target}: is there, and `asr export` did not write it",
            "name a folder that is not there yet",
        )
    if not overwrite:
        raise UserError(f"--output {target}: is there", "say --overwrite, or name another folder")
