"""A checkpoint comes into force at one moment, whatever kills the run; and old ones go.

What was written in a place that nobody reads is renamed to the checkpoint's folder, then `latest` is moved to
it, then `best`. Before the first of these a file says what is to be done, and the next run of the folder does
what is left of it: so there is no state between, in which one of them has moved and another has not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.model.lineage import STATE, best_of, identity_of, line_of, own_checkpoints
from asr.utils.files import flush_to_disk, read_json, write_json, write_text
from asr.utils.text_files import refuse_pipe

_PARTIAL = ".partial-"
_INTENT = ".publishing.json"
"""Beside the checkpoints: which one is to be published, and what `latest` said before."""


def place_to_write(folder: Path, name: str) -> Path:
    """Of a checkpoint until it is published."""
    return folder / f"{_PARTIAL}{name}"


def publish(run: Path, name: str) -> None:
    """Put in force the checkpoint of that name, which is complete where it was to be written."""
    folder = run / "checkpoints"
    own_id = identity_of(place_to_write(folder, name)).id
    write_json(folder / _INTENT, {"name": name, "id": own_id, "latest": _text(run / "latest")})
    flush_to_disk(folder, only_itself=True)
    _carry_out(run, name, own_id)


def recover(run: Path) -> None:
    """Complete what a killed run was about to publish; not where somebody has chosen otherwise since."""
    intent_file = run / "checkpoints" / _INTENT
    try:
        intent: dict[str, Any] = read_json(intent_file)
        name, own_id, before = str(intent["name"]), str(intent["id"]), intent["latest"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):  # a power cut: nothing was renamed yet
        intent_file.unlink(missing_ok=True)
        return
    if _text(run / "latest") in (before, name):
        _carry_out(run, name, own_id)
    intent_file.unlink(missing_ok=True)


def _carry_out(run: Path, name: str, own_id: str) -> None:
    folder = run / "checkpoints"
    partial, final = place_to_write(folder, name), folder / name
    if not _is(final, own_id):
        if not _is(partial, own_id):
            return
        _make_room(final, partial)
        partial.rename(final)
    flush_to_disk(folder, only_itself=True)
    write_text(run / "latest", name + "\n")
    best = best_of(line_of(final))
    if best is not None:
        write_text(run / "best", best.name + "\n")
    (folder / _INTENT).unlink(missing_ok=True)


def _is(folder: Path, own_id: str) -> bool:
    try:
        return identity_of(folder).id == own_id
    except UserError:
        return False


def _make_room(final: Path, partial: Path) -> None:
    """What has the new checkpoint's name is of a line that the run has left, and kept aside."""
    if not final.exists() and not final.is_symlink():
        return
    try:
        is_forerunner = identity_of(partial).descends_from(identity_of(final))
    except UserError:
        is_forerunner = False
    if (is_forerunner or not any(final.iterdir())) and not final.is_symlink():
        _remove(final)  # so near before it that both have one name; or what somebody has emptied
        return
    number = 1
    while (aside := final.with_name(f"{final.name}.left-{number}")).exists():
        number += 1
    final.rename(aside)


def prune(run: Path, last: Path, keep_last: int) -> None:
    """Remove the run's own checkpoints but for the last so many, and the best, of the line of `last`.

    What the user has put there, copies or links, stays and does not count; so does a line that was left.
    """
    line = [path for path in line_of(last) if not path.is_symlink()]
    kept = [*line[-keep_last:], last, best_of(line_of(last))]
    for path in line:
        if path not in kept:
            _remove(path)
    for path in last.parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(path)


def _remove(folder: Path) -> None:
    """At once, for whoever looks: what a kill leaves of it is removed by the next run."""
    gone = folder.with_name(f"{_PARTIAL}removed-{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)


def newest(run: Path) -> Path | None:
    """The checkpoint to go on from where `latest` names none.

    Raises UserError where that cannot be told, as there are several lines, or where all are gone.
    """
    folder = run / "checkpoints"
    own = [path for path, _ in own_checkpoints(folder)]
    if not own:
        if (run / "latest").exists():
            raise UserError(
                f"{run}: its checkpoints are gone",
                f"put them back into {folder}, or delete the run's folder to restart",
            )
        return None
    others = set(own) - set(line_of(own[-1]))
    if others:
        raise UserError(
            f"{run}/latest names no checkpoint, and {own[-1].name} does not descend from "
            f"{', '.join(sorted(path.name for path in others))}",
            f"write the name of the one to go on from into {run}/latest",
        )
    return own[-1]


def about_what_lies_there(run: Path, last: Path) -> list[str]:
    """What a user should know of the checkpoints beside that from which a run goes on."""
    if last.parent != run / "checkpoints":
        return []
    notes = []
    if _text(run / "latest") != last.name:
        notes.append(f"{run}/latest names no checkpoint: going on from {last.name}, the newest")
    line = line_of(last)
    left = [path.name for path, _ in own_checkpoints(last.parent) if path not in line]
    if left:
        notes.append(
            f"checkpoints that this run does not go on from ({', '.join(left)}) stay as they are, and are in "
            "no average; delete them when they are not wanted"
        )
    damaged = [
        fault.what for path in sorted(last.parent.glob("hours-*")) if (fault := _fault(path))
    ]
    if damaged:
        notes.append(
            f"{'; '.join(damaged)}: in no average and never the best; copy it again from where it is sound, or "
            "delete its folder"
        )
    return notes


def _fault(folder: Path) -> UserError | None:
    """Why a checkpoint that lies there is none."""
    try:
        if (folder / STATE).is_file():
            identity_of(folder)
    except UserError as error:
        return error
    return None


def _text(path: Path) -> str | None:
    try:
        refuse_pipe(path)
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
