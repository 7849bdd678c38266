"""Which checkpoint is which: by its content and the checkpoints before it, never by its name or clock alone.

state.json says, as `identity`:

    name       of its folder
    files      SHA-256 of every other file in it, by path
    parent     the id of the checkpoint that the run went on from, or null
    ancestors  the ids of all before it, the parent last
    id         SHA-256 of all that state.json says, this included

So a checkpoint whose bytes have changed is noticed, and one of a line that its run has left is not taken for
the run's own. Older checkpoints have none of this: those of a run are taken for one line, in the order of the
clock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.utils.files import read_json
from asr.utils.hashes import file_sha256

STATE = "state.json"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError)
_NO_CHECK = "; or, where you changed it yourself, delete 'identity' from state.json: nothing is compared then"


@dataclass(frozen=True)
class Identity:
    """Of a checkpoint."""

    id: str
    name: str
    seconds: float
    """Of audio, where it stands."""
    ancestors: tuple[str, ...] | None
    """The parent last; None of an older one, which does not know them."""
    dev_score: float | None
    """What checkpoints are compared by: dev WER, or dev loss; the lower, the better."""

    def descends_from(self, other: Identity) -> bool:
        """Or is the same."""
        if self.ancestors is None:
            return other.ancestors is None and other.seconds <= self.seconds
        return other.id == self.id or other.id in self.ancestors


def checkpoint_name(seconds: float) -> str:
    """The folder of a checkpoint after so much audio."""
    return f"hours-{seconds / 3600:011.4f}"


def sealed(
    state: Mapping[str, Any], folder: Path, name: str, parent: Path | None
) -> dict[str, Any]:
    """What state.json of a new checkpoint `name` says, whose other files are in `folder`.

    `parent`: the checkpoint that it follows.
    """
    before: tuple[str, ...] = ()
    if parent is not None:
        its = identity_of(parent)
        earlier = _older_line(parent.parent, its) if its.ancestors is None else its.ancestors
        before = (*earlier, its.id)
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / STATE
    }
    identity = {
        "name": name,
        "files": files,
        "parent": before[-1] if before else None,
        "ancestors": list(before),
    }
    # As it will be read: numbers as keys become text, tuples lists.
    whole = json.loads(json.dumps({**state, "identity": identity}))
    whole["identity"]["id"] = _id_of(whole)
    return dict(whole)


def _id_of(state: Mapping[str, Any]) -> str:
    identity = {key: value for key, value in state["identity"].items() if key != "id"}
    text = json.dumps({**state, "identity": identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def noted_files(state: Mapping[str, Any]) -> Mapping[str, str]:
    """SHA-256 of a checkpoint's files when it was saved, by their paths in it; of an older one none."""
    files: Mapping[str, str] = (state.get("identity") or {}).get("files", {})
    return files


def read_state(folder: Path) -> dict[str, Any]:
    """state.json of a checkpoint. Raises UserError where it is missing, damaged or changed."""
    path = folder / STATE
    try:
        state = read_json(path)
        if not isinstance(state, dict):
            raise ValueError("no JSON object")
        identity = state.get("identity")
        is_changed = identity is not None and (
            identity["id"] != _id_of(state) or not isinstance(identity["files"], dict)
        )
    except _DAMAGE as error:
        raise _unreadable(path, error) from None
    if is_changed:
        raise damaged(folder, path, "its content is not what was saved: SHA-256 differs", _NO_CHECK)
    return state


def damaged(folder: Path, path: Path, reason: str, further: str = "") -> UserError:
    """What to say of a checkpoint, or a file in it, that is not what was saved; `further` remedies, if any."""
    of_run = folder.parent.name == "checkpoints"
    without = (
        f", or delete {folder}: the run then goes on from the checkpoint before it"
        if of_run
        else ""
    )
    return UserError(
        f"{path}: damaged ({reason})", f"copy it again from where it is sound{without}{further}"
    )


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return damaged(path.parent, path, reason)


def identity_of(folder: Path) -> Identity:
    """Of the checkpoint in a folder. Raises UserError where state.json is damaged."""
    state = read_state(folder)
    try:
        seconds, score = float(state["clock"]["seconds"]), state["dev_wer"]
        score = state.get("dev_loss") if score is None else score
        own = state.get("identity")
        if own is None:
            digest = file_sha256(folder / STATE)
            return Identity(digest, checkpoint_name(seconds), seconds, None, score)
        return Identity(own["id"], own["name"], seconds, tuple(own["ancestors"]), score)
    except _DAMAGE as error:
        raise _unreadable(folder / STATE, error) from None


def check_files(folder: Path, state: Mapping[str, Any], names: Iterable[str] | None = None) -> None:
    """Compare a checkpoint's files, or some of them, with the SHA-256 that were noted when it was saved.

    Raises UserError for the first that is another or missing. Of an older checkpoint nothing is known.
    """
    noted = noted_files(state)
    for name in noted if names is None else [name for name in names if name in noted]:
        path = folder / name
        try:
            found = file_sha256(path) if path.is_file() else None
        except OSError as error:
            raise damaged(folder, path, str(error.strerror)) from None
        if found != noted[name]:
            what = "is missing" if found is None else "is not what was saved: SHA-256 differs"
            raise damaged(folder, path, what, _NO_CHECK if found is not None else "")


def no_checkpoint(setting: str, folder: Path) -> UserError:
    """What to say of a setting that names something else, a run's folder perhaps."""
    own = own_checkpoints(folder / "checkpoints")
    remedy = f"name {own[-1][0]}, its newest" if own else "name EXP/checkpoints/hours-..."
    return UserError(f"{setting}: {folder} is not a checkpoint", remedy)


def own_checkpoints(folder: Path) -> list[tuple[Path, Identity]]:
    """The checkpoints that lie in RUN/checkpoints as the run wrote them, by their hours.

    Not links, nor copies under other names, nor what is damaged: these are the user's affair.
    """
    found = []
    for path in folder.glob("hours-*"):
        try:
            identity = identity_of(path)
        except UserError:
            continue
        if path.name == identity.name:
            found.append((path, identity))
    return sorted(found, key=lambda one: (one[1].seconds, one[0].name))


def line_of(last: Path) -> list[Path]:
    """A checkpoint and, oldest first, those in its folder that it descends from."""
    identity = identity_of(last)
    before = [
        path
        for path, other in own_checkpoints(last.parent)
        if path.name != last.name and identity.descends_from(other)
    ]
    return [*before, last]


def best_of(line: Iterable[Path]) -> Path | None:
    """That with the lowest dev score, the first of several; None where none was evaluated."""
    rated = [(identity_of(path).dev_score, path) for path in line]
    known = [(score, path) for score, path in rated if score is not None]
    return min(known, key=lambda one: one[0])[1] if known else None


def _older_line(folder: Path, last: Identity) -> tuple[str, ...]:
    """What an older checkpoint is taken to descend from."""
    return tuple(
        identity.id
        for _, identity in own_checkpoints(folder)
        if last.descends_from(identity) and identity.id != last.id
    )
